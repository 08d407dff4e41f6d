"""Fault 11: a process of ours hangs or vanishes. There are no distributed workers; what there is are children."""

from __future__ import annotations

import os
import sys
import time

import pytest

from children import sleep, spin
from untrigger.errors import InputRefused, OutOfMemory, UntriggerError
from untrigger.evaluation.utility import process
from untrigger.evaluation.utility.messages import Order, TaskOrder
from untrigger.evaluation.utility.process import evaluation
from untrigger.models.untrusted.child import Limits, run_limited
from untrigger.observer import Silent


@pytest.mark.parametrize(("task", "why"), [(sleep, "more than 0.5 seconds"), (spin, "of a processor")])
def test_fault_11_hanging_child_that_reads_a_hostile_file(task, why):
    began = time.monotonic()
    limits = Limits(cpu_seconds=1, wall_seconds=0.5 if task is sleep else 60.0)
    with pytest.raises(InputRefused, match="the file takes too long") as told:
        run_limited(task, {}, "the file", limits)
    assert why in told.value.why
    assert time.monotonic() - began < 60


PROGRAM = (
    "import json, os, signal, sys, time\n"
    "open(json.load(open(sys.argv[1]))['inbox'] + '/../pid', 'w').write(str(os.getpid()))\n"
)


@pytest.fixture
def deliver(tmp_path):
    order = Order(
        model=tmp_path,
        base=None,
        device="cpu",
        dtype="auto",
        data=tmp_path,
        tasks=(TaskOrder(name="rte", limit=1),),
        batch_size=1,
        max_length=8,
        max_new_tokens=4,
        template="none",
        inbox=tmp_path / "inbox",
    )

    def call(code: str) -> None:
        with evaluation(order, tmp_path, Silent(), (sys.executable, "-c", PROGRAM + code)) as child:
            child.deliver("rte", "model: rte", tmp_path)

    return call


def test_fault_11_hanging_evaluation_is_ended_and_told(tmp_path, deliver, monkeypatch):
    monkeypatch.setattr(process, "_SILENCE_SECONDS", 2.0)
    with pytest.raises(UntriggerError, match="hangs at rte and was ended") as told:
        deliver("time.sleep(600)")
    assert told.value.exit_code == 2 and "finished tasks are kept" in told.value.todo
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_fault_11_vanished_evaluation_is_told(deliver):
    with pytest.raises(OutOfMemory, match="killed at rte"):
        deliver("os.kill(os.getpid(), signal.SIGKILL)")
