"""A fresh adapter on a whole model: what is left of it afterwards."""

from __future__ import annotations

import warnings

import pytest
import torch

from tiny import FAMILY_NAMES, save_tiny
from untrigger.config import AdapterOptions
from untrigger.models.load import load
from untrigger.models.new_adapter import through_adapter
from untrigger.models.state import open_for_training

OPTIONS = AdapterOptions(rank=2)
IDS = torch.arange(3, 15).view(2, 6)


def opened(folder, family="llama"):
    subject = load(str(save_tiny(folder / "model", family)))
    open_for_training(subject)
    return subject


def weights(subject):
    return {name: parameter.detach().clone() for name, parameter in subject.model.named_parameters()}


def moved_(subject):
    """Gives the adapter an update, as a training would."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in subject.model.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@torch.no_grad()
def logits(subject):
    return subject.model(input_ids=IDS).logits


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_what_was_learned_becomes_a_part_of_the_weights(tmp_path, family):
    subject = opened(tmp_path, family)
    names, before = list(weights(subject)), logits(subject)
    with through_adapter(subject, OPTIONS, 0, merged=True) as tuned:
        torch.testing.assert_close(logits(tuned), before)
        moved_(tuned)
        learned = logits(tuned)
    assert list(weights(subject)) == names
    assert not torch.allclose(before, learned, atol=1e-3)
    torch.testing.assert_close(logits(subject), learned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("error", [None, RuntimeError("stopped")])
def test_an_update_that_is_not_wanted_leaves_every_bit_as_it_was(tmp_path, error):
    subject = opened(tmp_path)
    before = weights(subject)
    try:
        with through_adapter(subject, OPTIONS, 0, merged=error is not None) as tuned:
            moved_(tuned)
            if error is not None:
                raise error
    except RuntimeError as raised:
        assert raised is error
    after = weights(subject)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_one_follows_another_without_a_warning_and_all_weights_can_be_trained_again(tmp_path):
    subject = opened(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with through_adapter(subject, OPTIONS, 0, merged=False) as tuned:
                live = {name for name, parameter in tuned.model.named_parameters() if parameter.requires_grad}
                assert live and all(".lora_" in name for name in live)
    assert all(parameter.requires_grad for parameter in subject.model.parameters())


def test_the_same_seed_gives_the_same_adapter(tmp_path):
    subject = opened(tmp_path)

    def factors(seed):
        with through_adapter(subject, OPTIONS, seed, merged=False) as tuned:
            return {name: value for name, value in weights(tuned).items() if ".lora_A." in name}

    one, again, other = factors(0), factors(0), factors(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
