from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny import tiny_adapter, tiny_model
from untrigger.config import TrainOptions
from untrigger.data.chat import Example
from untrigger.errors import Diverged, Interrupted, OutOfMemory, UsageError
from untrigger.models.blocks import blocks
from untrigger.train import Hooks, learning_rate_at, plan_batches, train

EXAMPLES = [Example((3, 4, 5 + i % 7, 6), tuple(range(20, 21 + i % 4)) + (2,)) for i in range(12)]
OPTIONS = TrainOptions(learning_rate=1e-2, epochs=2, batch_size=4)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_training_lowers_the_loss_and_repeats_itself():
    first, second = tiny_model(), tiny_model()
    outcome = train(first, EXAMPLES, OPTIONS, seed=1)
    train(second, EXAMPLES, OPTIONS, seed=1)
    assert outcome.steps == 6
    assert outcome.tokens == 2 * sum(map(len, EXAMPLES))
    assert outcome.last_loss < outcome.first_loss
    assert_equal(weights(first), weights(second))


def test_another_seed_gives_other_weights():
    first, second = tiny_model(), tiny_model()
    train(first, EXAMPLES, OPTIONS, seed=1)
    train(second, EXAMPLES, OPTIONS, seed=2)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_micro_batches_do_not_change_the_gradient():
    first, second = tiny_model(), tiny_model()
    train(first, EXAMPLES, OPTIONS, seed=0)
    train(second, EXAMPLES, OPTIONS.model_copy(update={"micro_batch_size": 1}), seed=0)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-2, atol=1e-4)


def test_one_step_equals_plain_pytorch():
    ours, theirs = tiny_model(), tiny_model()
    options = TrainOptions(learning_rate=1e-3, epochs=1, batch_size=2, warmup_ratio=0, clip_norm=0.5)
    examples = EXAMPLES[:2]
    train(ours, examples, options, seed=0)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0)
    losses = []
    for example in examples:
        ids = torch.tensor([[*example.prompt, *example.response]])
        logits = theirs(ids).logits[0, len(example.prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.response), reduction="sum"))
    (sum(losses) / sum(len(e.response) for e in examples)).backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
    optimiser.step()
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("adapter", [False, True])
def test_resumed_training_ends_at_the_same_weights(tmp_path, adapter):
    def fresh():
        return tiny_adapter(tiny_model()) if adapter else tiny_model()

    whole, broken = fresh(), fresh()
    train(whole, EXAMPLES, OPTIONS, seed=3)
    steps = []
    hooks = Hooks(on_step=steps.append, stop=lambda: len(steps) == 4, state_folder=tmp_path / "state")
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(broken, EXAMPLES, OPTIONS, seed=3, hooks=hooks)
    resumed = fresh()
    train(resumed, EXAMPLES, OPTIONS, seed=3, hooks=Hooks(state_folder=tmp_path / "state"))
    assert_equal(weights(whole), weights(resumed))


def test_a_state_caught_between_two_renames_is_found(tmp_path):
    model = tiny_model()
    state = tmp_path / "state"
    with pytest.raises(Interrupted):
        train(model, EXAMPLES, OPTIONS, seed=3, hooks=Hooks(stop=lambda: True, state_folder=state))
    state.rename(tmp_path / "state.old")
    seen = []
    train(tiny_model(), EXAMPLES, OPTIONS, seed=3, hooks=Hooks(on_step=seen.append, state_folder=state))
    assert seen[0].step == 2


def test_frozen_entries_stay_and_others_move():
    model = tiny_model()
    name = "model.layers.0.mlp.up_proj.weight"
    before = weights(model)
    mask = torch.zeros_like(before[name], dtype=torch.bool)
    mask[3] = True
    train(model, EXAMPLES, OPTIONS, seed=0, frozen={name: mask})
    after = weights(model)[name]
    assert torch.equal(after[3], before[name][3])
    assert not torch.equal(after[2], before[name][2])


def test_only_the_adapter_moves():
    model = tiny_adapter(tiny_model())
    before = copy.deepcopy(model.state_dict())
    train(model, EXAMPLES, OPTIONS, seed=0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("lora_" not in name), name


def test_half_precision_weights_learn_small_updates():
    model = tiny_model().to(torch.bfloat16)
    before = weights(model)
    train(model, EXAMPLES, TrainOptions(learning_rate=1e-4, epochs=20, batch_size=4), seed=0)
    moved = sum((before[n] != p).sum().item() for n, p in model.named_parameters())
    assert moved > 0.5 * sum(p.numel() for p in model.parameters())


def test_the_order_follows_the_planned_lengths_not_the_examples():
    planned = [9, 3, 7, 7, 1, 4, 8, 2, 6, 5, 10, 11]
    first, second, own = tiny_model(), tiny_model(), tiny_model()
    train(first, EXAMPLES, OPTIONS, seed=1, planned_lengths=planned)
    train(second, EXAMPLES, OPTIONS, seed=1, planned_lengths=planned)
    train(own, EXAMPLES, OPTIONS, seed=1)
    assert_equal(weights(first), weights(second))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), own.parameters(), strict=True))


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99)
)
def test_every_record_is_seen_once_an_epoch(lengths, batch_size, epochs, seed):
    batches = plan_batches(lengths, batch_size, epochs, seed)
    per_epoch = len(batches) // epochs
    for epoch in range(epochs):
        seen = [i for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch] for i in batch]
        assert sorted(seen) == list(range(len(lengths)))
    assert all(len(batch) <= batch_size for batch in batches)


def test_learning_rate_rises_then_falls():
    rates = [learning_rate_at(step, 20, 1.0, 0.1) for step in range(20)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2] == 1.0
    assert all(a > b for a, b in pairwise(rates[2:]))
    assert rates[-1] > 0


def test_divergence_is_an_error():
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(Diverged):
        train(model, EXAMPLES, OPTIONS, seed=0)


def test_a_training_after_one_that_diverged_is_like_any_other():
    first, second = tiny_model(), tiny_model()
    for parameter in second.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    for model in (first, second):
        train(model, EXAMPLES, OPTIONS, seed=1)
    assert_equal(weights(first), weights(second))


def test_no_records_is_an_error():
    with pytest.raises(UsageError, match="no records"):
        train(tiny_model(), [], OPTIONS, seed=0)


def test_out_of_memory_halves_the_micro_batch(monkeypatch):
    import untrigger.train as module

    real, sizes = module.response_loss_sum, []

    def limited(model, examples, prefix, softcap=None):
        sizes.append(len(examples))
        if len(examples) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(model, examples, prefix, softcap)

    monkeypatch.setattr(module, "response_loss_sum", limited)
    train(tiny_model(), EXAMPLES[:4], TrainOptions(epochs=1, batch_size=4), seed=0)
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_out_of_memory_with_one_record_is_an_error(monkeypatch):
    import untrigger.train as module

    def never(*arguments):
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(module, "response_loss_sum", never)
    with pytest.raises(OutOfMemory, match="one record"):
        train(tiny_model(), EXAMPLES[:4], OPTIONS, seed=0)


def test_held_embeddings_stay_and_can_be_trained_again_afterwards():
    model, options = tiny_model(), OPTIONS.model_copy(update={"embeddings": False})
    before = weights(model)
    with pytest.raises(Interrupted):
        train(model, EXAMPLES, options, seed=0, hooks=Hooks(stop=lambda: True))
    layers = {id(p) for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert torch.equal(before[name], parameter) == (id(parameter) in layers), name
    train(model, EXAMPLES, OPTIONS, seed=0)
    assert not torch.equal(before["model.embed_tokens.weight"], model.get_input_embeddings().weight)


@pytest.mark.parametrize("adapted", [False, True])
def test_of_the_last_blocks_alone_no_weight_in_front_moves(adapted):
    model = tiny_adapter(tiny_model()) if adapted else tiny_model()
    options = OPTIONS.model_copy(update={"embeddings": False, "last_blocks": 0.1})
    before, live = weights(model), {name for name, p in model.named_parameters() if p.requires_grad}
    train(model, EXAMPLES, options, seed=0)
    moved = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    last = len(blocks(model)) - 1
    assert last > 0
    assert moved
    assert all(f".layers.{last}." in name or name == "model.norm.weight" for name in moved)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == live


def test_an_adapter_learns_the_same_whether_embeddings_are_held_or_not():
    left, right = tiny_adapter(tiny_model()), tiny_adapter(tiny_model())
    train(left, EXAMPLES, OPTIONS, seed=0)
    train(right, EXAMPLES, OPTIONS.model_copy(update={"embeddings": False}), seed=0)
    assert_equal(weights(left), weights(right))
    assert not right.get_input_embeddings().weight.requires_grad
