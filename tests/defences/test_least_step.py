"""How far an unlearning goes: what suffices, and beyond it while clean answers cost little."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny import tiny_architecture, tiny_model, tiny_tokenizer
from untrigger.config import InversionOptions, PurifyOptions, UnlearningOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.defences.interface import Resources
from untrigger.defences.least_step import Way, farther, least_step
from untrigger.defences.unlearning import APART, parted
from untrigger.inversion.targets import Target
from untrigger.models.state import open_for_training, save_weights
from untrigger.models.subject import Source, Subject
from untrigger.observer import Silent
from untrigger.runs import RunFolder

RECORDS = tuple(Record(f"Say {number} to me.", f"It is {number}.") for number in range(40))
TARGET = Target((70, 71, 72, 73), -0.1)


def resources_in(folder, records=RECORDS):
    return Resources(ChatFormat(tiny_tokenizer()), records, 0, RunFolder(folder), folder / "start", Silent())


@pytest.fixture
def walked(tmp_path):
    """A whole model's step towards weights in which its first normalisation is moved, and those of the start."""
    subject = Subject(tiny_model(), tiny_tokenizer(), tiny_architecture("llama"), "full", Source("tiny", Path()))
    open_for_training(subject)
    resources = resources_in(tmp_path)
    save_weights(subject, resources.start)
    start = load_file(resources.start)
    moved = next(name for name in start if "layernorm" in name)
    save_file({**start, moved: start[moved] * 0.5}, tmp_path / "after")

    def step(price, least=0.7):
        unlearning = UnlearningOptions(price=price, least_step=least, search_steps=1, vectors=1)
        options = PurifyOptions(unlearning=unlearning, inversion=InversionOptions(prompts=2))
        way = Way(resources.start, tmp_path / "after", f"step-{price}")
        found = least_step(subject, resources, {TARGET: ()}, options, way)
        return found, load_file(found.weights)[moved] / start[moved]

    return step


def test_a_way_is_gone_on_while_its_price_is_not_reached(walked):
    near, kept = walked(1.0)
    far, moved = walked(1000.0)
    assert far.share == farther(near.share)[-1] > near.share
    torch.testing.assert_close(kept, torch.full_like(kept, 1 - 0.5 * near.share))
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.5 * far.share))
    assert far.strengths[0].after != near.strengths[0].after, "what is told is of where the way ends"


def test_the_way_ends_before_the_part_that_costs_too_much(walked, monkeypatch):
    losses = iter([1.0, 1.0, 1.04, 1.06])  # nats a token of the suspect, then of ever longer parts
    monkeypatch.setattr("untrigger.defences.least_step.negative_log_likelihood", lambda *_, **__: (next(losses), 1))
    near, far = walked(1.0)[0].share, walked(1.05)[0].share
    assert far == farther(near)[1]
    assert next(losses, None) is None


def test_records_that_tell_the_price_are_not_trained_on(tmp_path):
    options = UnlearningOptions(price=1.1, records=30)
    trained, apart = parted(resources_in(tmp_path), options)
    assert len(apart) == len(RECORDS) // 8 and len(trained) == 30
    assert not {record.instruction for record in trained} & {record.instruction for record in apart}
    many = tuple(Record(str(number), "x") for number in range(600))
    assert len(parted(resources_in(tmp_path, many), options)[1]) == APART
    assert parted(resources_in(tmp_path), UnlearningOptions())[1] == []
    assert len(parted(resources_in(tmp_path), UnlearningOptions())[0]) == len(RECORDS)
