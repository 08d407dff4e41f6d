"""Fault 2, made for real: a disk of a few kilobytes, in a mount namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobs_options import SMALL

from tiny import save_tiny
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

PURIFY = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from jobs_options import SMALL
from untrigger.errors import UntriggerError
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

try:
    purify(Request({model!r}, Path({output!r}), data=Path({data!r}), run=Path({run!r})), SMALL)
except UntriggerError as error:
    print(error.line())
    sys.exit(error.exit_code)
"""
FULL_THEN_ENLARGED = """
mount -t tmpfs -o size={kilobytes}k tmpfs {disk} || exit 77
"$1" -c "$2"
first=$?
mount -o remount,size=50m {disk} || exit 77
"$1" -c "$2" || exit 78
cp {output}/model.safetensors {kept}
exit $first
"""


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["unshare", "-rm", *command], capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty folder to mount a small file system on, where the system lets us."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("unshare") is None or in_namespace("mount", "-t", "tmpfs", "tmpfs", str(folder)).returncode:
        pytest.skip("no user and mount namespaces here; test_files.py has the error that safetensors raises")
    return folder


@pytest.mark.parametrize(
    ("kilobytes", "full"), [(4, "run"), (40, "run"), (200, "run"), (40, "output")], ids=lambda value: str(value)
)
def test_a_full_disk_is_told_and_the_same_call_goes_on_once_there_is_space(tmp_path, disk, records, kilobytes, full):
    suspect = save_tiny(tmp_path / "suspect")
    output = (disk if full == "output" else tmp_path) / "out"
    script = PURIFY.format(
        paths=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
        model=str(suspect),
        output=str(output),
        data=str(records),
        run=str((disk if full == "run" else tmp_path) / "out.run"),
    )
    kept = tmp_path / "kept.safetensors"
    shell = FULL_THEN_ENLARGED.format(kilobytes=kilobytes, disk=disk, output=output, kept=kept)
    done = in_namespace("sh", "-c", shell, "sh", sys.executable, script)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "not enough disk space" in done.stdout
    purify(Request(str(suspect), tmp_path / "whole", data=records), SMALL)
    assert sha256(kept) == sha256(tmp_path / "whole" / "model.safetensors")
