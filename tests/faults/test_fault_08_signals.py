"""Fault 8: Ctrl-C or SIGTERM once finishes the step and saves, twice ends the work at once; 130 in both cases."""

from __future__ import annotations

import json
import signal

import pytest

from untrigger.files import sha256

AT_STEP = """
import os
from untrigger import train
real = train._Loop.step
steps = []
def step(loop, batch, rate):
    steps.append(1)
    if len(steps) == 2:
        for _ in range({times}):
            os.kill(os.getpid(), {number})
    return real(loop, batch, rate)
train._Loop.step = step
"""
AT_PROMPTS = """
import os
from untrigger.models import generate
real = generate.decode
def decode(*arguments):
    os.kill(os.getpid(), {number})
    return real(*arguments)
generate.decode = decode
"""
BEFORE_WORK = """
import os
from untrigger.data import locate
locate.optional_data_file = lambda reference: os.kill(os.getpid(), {number})
"""
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def words(tmp_path, suspect, records, small_flags):
    return [
        "purify",
        suspect,
        "-o",
        tmp_path / "out",
        "--data",
        records,
        *small_flags,
        "--variants.train.batch-size=2",
    ]


@SIGNALS
def test_fault_08_signals_once_finish_the_step_and_save(trials, tmp_path, suspect, records, words, number):
    stopped = trials.command(words, AT_STEP.format(times=1, number=int(number)))
    assert stopped.code == 130, stopped.err
    assert "stopping after this step; once more to stop now" in stopped.err
    assert "run the same command again" in stopped.err.splitlines()[-1]
    state = tmp_path / "out.run" / "twin.partial" / "scratch" / "clean-state" / "state.json"
    assert json.loads(state.read_text())["step"] == 2
    again = trials.command(words)
    assert again.code in (0, 1), again.err
    whole = trials.command([*words[:3], tmp_path / "whole", *words[4:]])
    assert whole.code == again.code
    assert sha256(tmp_path / "out" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


@SIGNALS
def test_fault_08_signals_twice_stop_now(trials, tmp_path, words, number):
    stopped = trials.command(words, AT_STEP.format(times=2, number=int(number)))
    assert stopped.code == 130, stopped.err
    assert "Traceback" not in stopped.err
    scratch = tmp_path / "out.run" / "twin.partial" / "scratch"
    assert scratch.is_dir() and not (scratch / "clean-state").exists()
    assert not (tmp_path / "out").exists()


@SIGNALS
def test_fault_08_signals_between_two_batches_of_prompts(trials, suspect, records, number):
    words = ["evaluate", suspect, "--prompts", records, "--batch-size", 4, "--max-new-tokens", 2]
    stopped = trials.command(words, AT_PROMPTS.format(number=int(number)))
    assert stopped.code == 130, stopped.err
    assert "after 4 of 12 prompts" in stopped.err


@SIGNALS
def test_fault_08_signals_before_any_work(trials, words, number):
    stopped = trials.command(words, BEFORE_WORK.format(number=int(number)))
    assert stopped.code == 130 and "Traceback" not in stopped.err
