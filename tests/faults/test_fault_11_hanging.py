"""Fault 11: a process of ours hangs or vanishes, or a device does. There are no distributed workers, but children."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from children import sleep, spin, vanish_once
from untrigger.errors import InputRefused, OutOfMemory, UntriggerError
from untrigger.evaluation.utility import process
from untrigger.evaluation.utility.messages import Order, TaskOrder
from untrigger.evaluation.utility.process import evaluation
from untrigger.files import sha256
from untrigger.models.memory import is_device_failure
from untrigger.models.untrusted.child import Limits, run_limited
from untrigger.observer import Silent
from untrigger.runs import is_complete

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize(("task", "why"), [(sleep, "more than 0.3 seconds, twice"), (spin, "of a processor")])
def test_fault_11_hanging_child_that_reads_a_hostile_file(task, why):
    began = time.monotonic()
    limits = Limits(cpu_seconds=1, wall_seconds=0.3 if task is sleep else 60.0)
    with pytest.raises(InputRefused, match="the file takes too long") as told:
        run_limited(task, {}, "the file", limits)
    assert why in told.value.why
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_fault_11_vanished_child_is_started_once_more(tmp_path, how):
    order = {"before": str(tmp_path / "before"), "how": how}
    limits = Limits(wall_seconds=3.0 if how == "hanging" else 60.0, writes=True)
    assert run_limited(vanish_once, order, "the file", limits) == {"done": True}


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


def test_fault_11_a_process_of_an_experiment_is_ended_in_time(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    common = importlib.import_module("common")
    assert common.ended([sys.executable, "-c", "import time; time.sleep(600)"], hours=0.5 / 3600) is None
    codes = [-signal.SIGKILL, 0]
    monkeypatch.setattr(common, "ended", lambda command: codes.pop(0))
    assert common.run_apart("cell", ["program"]) and not codes
    codes[:] = [None, None, 0]
    assert not common.run_apart("cell", ["program"]) and codes == [0]
    codes[:] = [2, 0]
    assert not common.run_apart("cell", ["program"]) and codes == [0]
    codes[:] = [2, 0]
    with pytest.raises(SystemExit, match=r"not finished: first$"):
        common.run_all_apart({"first": ["program"], "second": ["program"]}, jobs=1)


FAILING_DEVICE = """
import torch
from untrigger import train
real, steps = train.response_loss_sum, []
def response_loss_sum(*arguments):
    steps.extend([1] * torch.is_grad_enabled())  # else it only measures
    if len(steps) == {step} and torch.is_grad_enabled():
        raise {error}
    return real(*arguments)
train.response_loss_sum = response_loss_sum
"""
LOST = "CUDA error: unspecified launch failure"


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (torch.AcceleratorError(LOST), True),
        (RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError(LOST), False),
    ],
)
def test_fault_11_a_device_that_vanishes_is_told_from_other_errors(error, failed):
    assert is_device_failure(error) is failed


def test_fault_11_a_device_vanishes_in_a_variant_and_the_same_command_goes_on(
    trials, tmp_path, suspect, records, small_flags
):
    words = ["purify", suspect, "--data", records, *small_flags, "--output"]
    # The twin of all pairs and the first pair take a step each; the third step is in the second pair.
    failed = trials.command(
        [*words, tmp_path / "out"], FAILING_DEVICE.format(step=3, error=f"torch.AcceleratorError({LOST!r})")
    )
    last = failed.err.splitlines()[-1]
    assert failed.code == 2 and "the device failed" in last and LOST in last and "same command" in last, failed.err
    assert "Traceback" not in failed.err and not (tmp_path / "out").exists()
    run = tmp_path / "out.run"
    assert is_complete(run / "pair-01") and not (run / "pair-02").exists()
    done, unbroken = (trials.command([*words, tmp_path / name]) for name in ("out", "whole"))
    assert done.code in (0, 1) and "pair-01: taken from the run folder" in done.err, done.err
    assert unbroken.code == done.code
    assert sha256(tmp_path / "out" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")
