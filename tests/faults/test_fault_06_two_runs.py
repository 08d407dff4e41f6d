"""Fault 6: two runs on one folder: the second is told whose it is; the lock of a dead one counts for nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from untrigger.errors import UsageError
from untrigger.runs import open_run

HOLD = """
import time
from pathlib import Path
from untrigger.runs import open_run
with open_run(Path({run!r}), {{}}):
    Path({ready!r}).touch()
    time.sleep(600)
"""


def test_fault_06_two_runs_on_one_folder(trials, tmp_path):
    run, ready = tmp_path / "run", tmp_path / "ready"
    holder = trials.begin(HOLD.format(run=str(run), ready=str(ready)))
    wait_for(ready)
    with pytest.raises(UsageError, match="in use by process") as refused, open_run(run, {}):
        pass
    assert refused.value.exit_code == 4
    assert (run / "lock").read_text().isdecimal()
    os.kill(holder, signal.SIGKILL)
    assert trials.end().code == -signal.SIGKILL
    with open_run(run, {}):
        assert (run / "lock").read_text() == str(os.getpid())


def test_fault_06_the_command_names_the_holder(trials, tmp_path, suspect, records, small_flags):
    with open_run(tmp_path / "out.run", {}):
        words = ("purify", suspect, "-o", tmp_path / "out", "--data", records, *small_flags)
        refused = trials.command(words)
    assert refused.code == 4
    assert f"in use by process {os.getpid()}" in refused.err


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
