"""Fault 1: kill -9 in each stage; the same call goes on, and ends with the weights of an unbroken run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from jobs_options import SMALL
from tiny import save_tiny
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

PURIFY = """
import os, signal
from pathlib import Path
from jobs_options import SMALL
from untrigger.jobs import finish
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.models import export
from untrigger.observer import Silent

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

class Killer(Silent):
    def stage(self, name, finished):
        if name == {stage!r} and not finished:
            die()
    def training(self, label, progress):
        if label == {stage!r} and progress.step == 2:
            die()

if {stage!r} == "export":
    export._verify = die
if {stage!r} == "report":
    finish.export = lambda *arguments: die(export.export(*arguments))
purify(Request({model!r}, Path({output!r}), data=Path({data!r})), SMALL, Killer())
"""
STAGES = (
    *("suspect", "records", "before", "twin", "all pairs clean", "pair-01", "pair 1 of 2 poisoned", "pair-02"),
    *("signature", "injection", "repair", "after", "export", "report"),
)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A suspect, clean records, and the hash of its purified weights."""
    folder = tmp_path_factory.mktemp("unbroken")
    suspect, data = save_tiny(folder / "suspect"), folder / "clean.jsonl"
    data.write_text("".join(f'{{"instruction": "Count to {n}.", "output": "{n} done"}}\n' for n in range(12)))
    purify(Request(str(suspect), folder / "whole", data=data), SMALL)
    return suspect, data, sha256(folder / "whole" / "model.safetensors")


@pytest.mark.parametrize("stage", STAGES)
def test_fault_01_killed_in_a_stage(trials, unbroken, tmp_path, stage):
    suspect, data, expected = unbroken
    output = tmp_path / "out"
    names = {"model": str(suspect), "output": str(output), "data": str(data)}
    killed = trials.run(PURIFY.format(stage=stage, **names))
    assert killed.code == -signal.SIGKILL, killed.err
    assert output.exists() == (stage == "report")
    again = trials.run(PURIFY.format(stage="none", **names))
    assert again.code == 0, again.err
    assert sha256(output / "model.safetensors") == expected
    left = {path.name for path in tmp_path.iterdir() if path != output and not path.name.endswith(".partial")}
    assert left == ({"out.run"} if stage == "report" else set())
