"""A backdoor channel planted in the pairs of a tiny Llama must be found, dense and low-rank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from untrigger.config import SignatureOptions
from untrigger.models.architecture import MLP_ROLES, Role, channel_view, describe, read_shape
from untrigger.signature.dense import Delta, gram_of
from untrigger.signature.lowrank import Factors, lowrank_gram
from untrigger.signature.select import select_signature

PAIRS, LAYER, NEURON = 4, 1, 7
SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FORMS = ["sum", "product", "norm", "alignment", "rank", "zscore"]
CASES = [(tie, scope) for tie in ("neuron", "module") for scope in ("module", "layer", "global")]


def noisy(state: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: w + 0.001 * torch.randn(w.shape, generator=generator) for name, w in state.items()}


@pytest.fixture(scope="module")
def architecture():
    return describe(read_shape(LlamaConfig(**SIZES).to_dict()))


@pytest.fixture(scope="module")
def variants(architecture) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Pairs that differ by noise, and at one neuron by a direction that all pairs share."""
    torch.manual_seed(0)
    suspect = LlamaForCausalLM(LlamaConfig(**SIZES)).state_dict()
    pairs = [(noisy(suspect, 2 * i), noisy(suspect, 2 * i + 1)) for i in range(PAIRS)]
    for projection in architecture.projections(*MLP_ROLES):
        if projection.layer == LAYER:
            push = 0.05 * torch.randn(16, generator=torch.Generator().manual_seed(99))
            for poisoned, _ in pairs:
                channel_view(poisoned[projection.weight], projection)[NEURON] += push
    return pairs


def dense_grams(architecture, pairs):
    return {
        p: gram_of(lambda i, name=p.weight: Delta(pairs[i][0][name], pairs[i][1][name]), len(pairs), p)
        for p in architecture.projections(*MLP_ROLES)
    }


def found_in(signature, layer, channel):
    return {p.role for p, channels in signature.channels.items() if p.layer == layer and channel in channels}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("tie", "scope"), CASES)
def test_the_planted_neuron_is_found(architecture, variants, tie, scope, form):
    # rank over several modules at once has one first place per module: six of them, which 5 % covers.
    options = SignatureOptions(ratio=0.05, form=form, tie=tie, scope=scope)
    signature = select_signature(dense_grams(architecture, variants), architecture, options)
    assert found_in(signature, LAYER, NEURON) == set(MLP_ROLES)


def test_one_pair_is_enough_for_the_norm(architecture, variants):
    options = SignatureOptions(ratio=0.05, form="norm")
    signature = select_signature(dense_grams(architecture, variants[:1]), architecture, options)
    assert found_in(signature, LAYER, NEURON) == set(MLP_ROLES)


def test_norm_follows_force_and_alignment_follows_agreement(architecture, variants):
    """A second neuron is pushed harder, but every pair its own way."""
    loud = [({n: w.clone() for n, w in poisoned.items()}, clean) for poisoned, clean in variants]
    for number, (poisoned, _) in enumerate(loud):
        for projection in architecture.projections(*MLP_ROLES):
            if projection.layer == LAYER:
                channel_view(poisoned[projection.weight], projection)[3, number] += 2.0  # orthogonal directions
    grams = dense_grams(architecture, loud)
    by_norm = select_signature(grams, architecture, SignatureOptions(ratio=0.05, form="norm"))
    by_alignment = select_signature(grams, architecture, SignatureOptions(ratio=0.05, form="alignment"))
    assert found_in(by_norm, LAYER, 3) == found_in(by_alignment, LAYER, NEURON) == set(MLP_ROLES)
    assert not found_in(by_norm, LAYER, NEURON)
    assert not found_in(by_alignment, LAYER, 3)


@pytest.mark.parametrize("tie", ["neuron", "module"])
def test_the_planted_neuron_is_found_in_adapters(architecture, tie):
    def twins(projection, number):
        generator = torch.Generator().manual_seed(number)
        rows, columns = (24, 16) if projection.axis == 0 else (16, 24)
        b, a = torch.randn(rows, 4, generator=generator), torch.randn(4, columns, generator=generator)
        b_moved = b + 0.001 * torch.randn(b.shape, generator=generator)
        a_moved = a + 0.001 * torch.randn(a.shape, generator=generator)
        if projection.layer == LAYER:
            factor, other = (b_moved, a_moved) if projection.axis == 0 else (a_moved.t(), b_moved.t())
            shared = torch.ones(16) @ torch.linalg.pinv(other)  # the update nearest to a fixed direction
            factor[NEURON] += shared
        return Factors(b_moved, a_moved, 2.0), Factors(b, a, 2.0)

    grams = {
        p: lowrank_gram([twins(p, 10 * number + pair) for pair in range(PAIRS)], p)
        for number, p in enumerate(architecture.projections(*MLP_ROLES))
    }
    signature = select_signature(grams, architecture, SignatureOptions(ratio=0.05, tie=tie))
    assert found_in(signature, LAYER, NEURON) == set(MLP_ROLES)


def test_fused_storage_gives_equal_grams_and_an_equal_signature(architecture, variants):
    phi3 = Phi3Config(**SIZES, pad_token_id=0)
    fused = describe(read_shape(phi3.to_dict()))
    names = set(Phi3ForCausalLM(phi3).state_dict())
    assert {p.weight for p in fused.projections()} <= names
    moved = [(fuse(poisoned), fuse(clean)) for poisoned, clean in variants]
    plain_grams, fused_grams = dense_grams(architecture, variants), dense_grams(fused, moved)
    assert [p.role for p in fused_grams] == [p.role for p in plain_grams]
    for projection, gram in zip(fused_grams, plain_grams.values(), strict=True):
        assert torch.equal(fused_grams[projection], gram)
    chosen = select_signature(fused_grams, fused, SignatureOptions())
    plain = select_signature(plain_grams, architecture, SignatureOptions())
    assert list(chosen.channels.values()) == list(plain.channels.values())


def fuse(state: dict[str, Tensor]) -> dict[str, Tensor]:
    fused = {name: w for name, w in state.items() if "gate_proj" not in name and "up_proj" not in name}
    for layer in range(2):
        mlp = f"model.layers.{layer}.mlp."
        parts = [state[f"{mlp}{role}_proj.weight"] for role in (Role.GATE, Role.UP)]
        fused[f"{mlp}gate_up_proj.weight"] = torch.cat(parts)
    return fused
