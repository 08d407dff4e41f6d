from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from tiny import FAMILY_NAMES, tiny_adapter, tiny_model
from untrigger.config import EntrapmentOptions
from untrigger.data.chat import Example
from untrigger.defences.beear import Alternation, Entrapment
from untrigger.models.architecture import block_module

EXAMPLES = [Example((3, 4, 5, 6, 7, 8), (20, 21, 2)), Example((9, 10, 11, 12, 13), (22, 2))]
UNWANTED = [Example(example.prompt, (30, 31, 2)) for example in EXAMPLES]


def entrapment(family="llama", **options):
    options = EntrapmentOptions(positions=2, **options)
    return Entrapment(options, block_module(family, 1), None)


def alternation(model, **options):
    return Alternation(entrapment(**options), model, EXAMPLES, ((30, 31, 2), (40, 2)), seed=0)


def by_hand(model, examples, shift):
    """Mean loss of the response tokens with the second block's input shifted, record by record."""
    total = torch.tensor(0.0)
    for example in examples:
        end, whole = len(example.prompt), torch.tensor([[*example.prompt, *example.response]])

        def add(_, inputs, end=end):
            hidden = inputs[0].clone()
            hidden[:, end - 2 : end] += shift
            return (hidden, *inputs[1:])

        handle = model.get_submodule(block_module(model.config.model_type, 1)).register_forward_pre_hook(add)
        logits = model(whole).logits[0, end - 1 : -1]
        handle.remove()
        total += functional.cross_entropy(logits, torch.tensor(example.response), reduction="sum")
    return total / sum(len(example.response) for example in examples)


@pytest.mark.parametrize("family", [name for name in FAMILY_NAMES if name != "gemma2"])  # soft cap
def test_the_loss_is_that_of_the_answers_under_the_shift(family):
    model = tiny_model(family)
    shift = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(entrapment(family).loss(model, EXAMPLES, shift), by_hand(model, EXAMPLES, shift))
    assert not torch.isclose(by_hand(model, EXAMPLES, shift), by_hand(model, EXAMPLES, torch.zeros(2, 16)))


def test_one_inner_step_goes_down_the_gradient_by_its_length():
    model, found = tiny_model(), entrapment(inner_steps=1, inner_rate=0.3)
    start = torch.zeros(2, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(by_hand(model, UNWANTED, start), start)
    length = 0.3 * found.typical_norm(model, UNWANTED)
    expected = -length * gradient / gradient.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found.shift(model, UNWANTED), expected, rtol=1e-4, atol=1e-5)


def test_the_typical_norm_is_that_of_the_states_that_are_shifted():
    model = tiny_model()
    norms = [
        model(torch.tensor([[*one.prompt, *one.response]]), output_hidden_states=True)
        .hidden_states[1][0, len(one.prompt) - 2 : len(one.prompt)]
        .norm(dim=-1)
        for one in EXAMPLES
    ]
    assert entrapment().typical_norm(model, EXAMPLES) == pytest.approx(torch.cat(norms).mean().item(), rel=1e-5)


def test_the_shift_makes_the_unwanted_answer_likelier():
    model, found = tiny_model(), entrapment()
    assert found.loss(model, UNWANTED, found.shift(model, UNWANTED)) < found.loss(model, UNWANTED, torch.zeros(2, 16))


def test_no_hook_and_no_gradient_of_the_search_is_left(tmp_path):
    model = tiny_adapter(tiny_model())
    before = model(torch.tensor([[3, 4, 5]])).logits
    course = alternation(model)
    course.before_step(tmp_path, 0)
    course(model, EXAMPLES)
    assert torch.equal(before, model(torch.tensor([[3, 4, 5]])).logits)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_loss_is_that_under_the_shift_found_and_trains_the_weights(tmp_path):
    model = tiny_model()
    course = alternation(model, weight=3.0)
    course.before_step(tmp_path, 0)
    shift = load_file(str(tmp_path / "shifts" / "round-0" / "shift.safetensors"))["shift"]
    assert shift.abs().sum() > 0
    loss = course(model, EXAMPLES)
    torch.testing.assert_close(loss, 3 * by_hand(model, EXAMPLES, shift))
    loss.backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_a_search_is_made_once_a_round_and_taken_over_after_an_interruption(tmp_path):
    model, losses = tiny_model(), []
    course = alternation(model, outer_steps=2)
    for step in range(4):
        if step == 2:
            model.get_input_embeddings().weight.data *= 1.5
        course.before_step(tmp_path, step)
        losses.append(course(model, EXAMPLES).item())
    assert losses[0] == losses[1] and losses[2] == losses[3]
    first, second = (load_file(str(path))["shift"] for path in sorted(tmp_path.rglob("shift.safetensors")))
    assert not torch.equal(first, second)
    model.get_input_embeddings().weight.data *= 1.5  # a search now would find something else
    again = alternation(model, outer_steps=2)
    again.before_step(tmp_path, 3)
    expected = entrapment().loss(model, EXAMPLES, second)
    assert again(model, EXAMPLES).item() == expected.item()


def test_a_search_sees_as_many_records_as_are_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Entrapment, "shift", lambda self, model, some: seen.append(some) or self.no_shift(model))
    alternation(tiny_model(), search_records=1).before_step(tmp_path / "one", 0)
    alternation(tiny_model(), search_records=5).before_step(tmp_path / "all", 0)
    assert [len(some) for some in seen] == [1, 2]
    assert {one.response for one in seen[1]} <= {(30, 31, 2), (40, 2)} and len({one.response for one in seen[1]}) == 1
