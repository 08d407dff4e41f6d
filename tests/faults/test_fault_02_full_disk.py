"""Fault 2, made for real: a disk of a few kilobytes, in a mount name space of its own."""

from __future__ import annotations

import pytest

from jobs_options import SMALL
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

FULL_THEN_ENLARGED = """
import subprocess, sys
from pathlib import Path
from jobs_options import SMALL
from untrigger.errors import UntriggerError
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", {disk!r}], check=True)

output = Path({output!r})
request = Request({model!r}, output, data=Path({data!r}), run=Path({run!r}))
mount("size={kilobytes}k")
try:
    purify(request, SMALL)
except UntriggerError as error:
    print(error.line())
    first = error.exit_code
print(output.exists())
mount("remount,size=50m")
purify(request, SMALL)
print(sha256(output / "model.safetensors"))
subprocess.run(["umount", {disk!r}], check=True)
sys.exit(first)
"""


@pytest.mark.parametrize(
    ("kilobytes", "full"), [(4, "run"), (40, "run"), (200, "run"), (40, "output")], ids=lambda value: str(value)
)
def test_fault_02_full_disk_is_told_and_the_same_call_goes_on(mounting, tmp_path, suspect, records, kilobytes, full):
    disk = tmp_path / "disk"
    disk.mkdir()
    places = {name: str((disk if name == full else tmp_path) / name) for name in ("run", "output")}
    code = FULL_THEN_ENLARGED.format(
        disk=str(disk), kilobytes=kilobytes, model=str(suspect), data=str(records), **places
    )
    done = mounting.run(code)
    assert done.code == 2, done.out + done.err
    told, published, weights = done.out.splitlines()
    assert "not enough disk space" in told and published == "False"
    purify(Request(str(suspect), tmp_path / "whole", data=records), SMALL)
    assert weights == sha256(tmp_path / "whole" / "model.safetensors")
