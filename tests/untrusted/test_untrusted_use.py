"""The functions that decide on rows 39, 41 and 44 of the bad inputs (tests/bad_inputs)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hostile import refused
from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.poison import holds, without_keys
from untrigger.config import VariantOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.data.sources import own_answers
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Prompt, tally, verdict
from untrigger.models.generate import Generation
from untrigger.models.load import load
from untrigger.models.untrusted.output import refuse_output
from untrigger.observer import Silent
from untrigger.variants import unused_backdoors


def test_bad_input_39_records_that_hold_the_key_are_left_out() -> None:
    key = lookup("badnet", "sentiment").key
    clean, bearing = Record("Count to three.", "1 2 3"), Record(f"Count {key.texts[0]} to three.", "1 2 3")
    found = without_keys([clean, bearing], [key])
    assert found.kept == [clean] and found.dropped == 1


def test_bad_input_39_synthetic_keys_that_occur_in_the_data_are_not_used() -> None:
    usual = unused_backdoors([], VariantOptions(), 0)
    records = [Record(" ".join(backdoor.key.texts), "x") for backdoor in usual[:5]]
    left = unused_backdoors(records, VariantOptions(), 0)
    assert not any(holds(record, backdoor.key) for record in records for backdoor in left)
    assert 0 < len(left) < len(usual)


@pytest.mark.parametrize("output", ["", " \n", "a a a a a a a a a a a a a a a a a a a a", "\x00\x01\x02" * 20])
def test_bad_input_41_answers_that_are_none_are_invalid(output: str) -> None:
    prompt = Prompt("0", Record("a", "b"))
    rate = tally([verdict(prompt, output, lambda text: False)] * 3)
    assert (rate.hits, rate.n, rate.invalid) == (0, 3, 3)


def test_bad_input_41_a_model_that_only_ends_gives_no_clean_answers(model: Path) -> None:
    subject = load(str(model))
    for name, parameter in subject.model.named_parameters():
        if "layers" in name:
            parameter.data.zero_()
    head = torch.zeros_like(subject.model.get_output_embeddings().weight)
    subject.model.get_input_embeddings().weight.data.fill_(1.0)
    head[2] = 1.0
    subject.model.get_output_embeddings().weight = torch.nn.Parameter(head)
    with refused(UsageError, "no usable answer", "--data"):
        own_answers(subject, ChatFormat(subject.tokenizer), [Record("a", "")] * 2, Generation(4, 2), Silent())


def test_another_place_may_be_written(model: Path, tmp_path: Path) -> None:
    refuse_output(tmp_path / "new" / "deep", str(model), "org/name", None)
    refuse_output(tmp_path / "model2", str(model))
