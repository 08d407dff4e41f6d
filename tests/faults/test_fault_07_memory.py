"""Fault 7: memory runs out: batches are halved, then the run ends with advice; a killed child is no success."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from children import hoard, kill_itself
from jobs_options import ONE_EPOCH
from tiny import save_tiny, tiny_model, tiny_tokenizer
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import InputRefused, OutOfMemory
from untrigger.models import decoding
from untrigger.models.generate import Generation, answer_prompts, generate_answers
from untrigger.models.memory import in_batches
from untrigger.models.sampling import Sampling
from untrigger.models.untrusted.child import Limits, run_limited
from untrigger.train import train

NONE_LEFT = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
NO_METAL = "MPS backend out of memory (MPS allocated: 9.06 GB, max allowed: 9.07 GB)."
NO_CUDA = torch.OutOfMemoryError("none left")


@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 50))
def test_fault_07_memory_every_item_is_worked_on_once_in_batches_that_fit(count, size, room):
    tried: list[int] = []

    def work(batch):
        tried.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("none left")
        return sum(batch)

    done = list(in_batches(range(count), size, work, "item"))
    assert [item for batch, _ in done for item in batch] == list(range(count))
    assert all(result == sum(batch) and len(batch) <= room for batch, result in done)
    assert tried == sorted(tried, reverse=True)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(NONE_LEFT), RuntimeError(NO_METAL), NO_CUDA])
def test_fault_07_memory_for_one_item_is_missing(error):
    def work(batch):
        raise error

    with pytest.raises(OutOfMemory, match="one record at a time") as told:
        list(in_batches([1, 2], 2, work, "record"))
    assert told.value.exit_code == 2 and told.value.todo


def test_fault_07_memory_is_not_suspected_behind_other_errors():
    def work(batch):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(in_batches([1, 2], 2, work, "record"))


def test_fault_07_memory_runs_out_while_answers_are_generated(monkeypatch):
    model, chat = tiny_model(), ChatFormat(tiny_tokenizer())
    asked = [Record(f"Count to {number}.", "") for number in range(5)]
    whole = generate_answers(model, chat, asked, Generation(4, 5))
    real, sizes, seen = decoding._Start.__call__, [], []

    def limited(start, prompts):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise RuntimeError(NONE_LEFT)
        return real(start, prompts)

    monkeypatch.setattr(decoding._Start, "__call__", limited)
    assert generate_answers(model, chat, asked, Generation(4, 5), on_answers=seen.append) == whole
    assert sizes == [5, 2, 2, 1] and seen == [2, 4, 5]


def test_fault_07_memory_runs_out_in_the_middle_of_answers(monkeypatch):
    model, chat = tiny_model(), ChatFormat(tiny_tokenizer())
    asked = [chat.conversation_ids((f"Count to {number}.",)) for number in range(5)]
    sampling = Sampling(0.9, (1, 2, 3, 4, 5))

    def answers():
        return answer_prompts(model, chat, asked, Generation(9, 5), limits=[3, 9, 9, 9, 9], sampling=sampling)

    whole, real, sizes = answers(), decoding._advanced, []

    def limited(decoder, live):
        sizes.append(len(live.numbers))
        if len(sizes) == 4:
            raise RuntimeError(NONE_LEFT)
        return real(decoder, live)

    monkeypatch.setattr(decoding, "_advanced", limited)
    assert answers() == whole
    assert sizes[:4] == [5, 5, 4, 4] and max(sizes[4:]) == 2


def test_fault_07_memory_python_has_none_left_for_a_training_step(monkeypatch):
    def never(*arguments):
        raise MemoryError

    monkeypatch.setattr("untrigger.train.response_loss_sum", never)
    examples = [ChatFormat(tiny_tokenizer()).encode(Record("a", "b"), 64)] * 2
    with pytest.raises(OutOfMemory, match="one record"):
        train(tiny_model(), examples, ONE_EPOCH, seed=0)


LIMITED = """
import resource
from pathlib import Path
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 40 * 2**20, resource.RLIM_INFINITY))
"""


def test_fault_07_memory_of_the_whole_process_is_limited(trials, tmp_path, records):
    large = save_tiny(tmp_path / "large", vocab_size=200_000, hidden_size=64)
    done = trials.command(("evaluate", large, "--prompts", records), LIMITED)
    assert done.code == 2, done.err
    assert "memory" in done.err.splitlines()[-1] and "Traceback" not in done.err


def test_fault_07_memory_a_child_that_wants_too_much_is_told():
    with pytest.raises(InputRefused, match="MemoryError"):
        run_limited(hoard, {}, "the file", Limits(cpu_seconds=20, memory=64 * 2**20))


def test_fault_07_memory_a_killed_child_is_reported_as_killed():
    with pytest.raises(InputRefused, match="signal 9; its memory is limited"):
        run_limited(kill_itself, {}, "the file")
