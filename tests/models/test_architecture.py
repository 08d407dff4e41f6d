from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tiny import FAMILY_NAMES, tiny_architecture, tiny_model
from untrigger.errors import InputRefused
from untrigger.models.architecture import (
    ATTENTION_ROLES,
    MLP_ROLES,
    Architecture,
    Projection,
    Role,
    channel_view,
    describe,
    read_shape,
)

SHAPE = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def the(architecture: Architecture, role: Role, layer: int = 1) -> Projection:
    return next(projection for projection in architecture.projections(role) if projection.layer == layer)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_projection_is_a_part_of_a_real_parameter_and_fused_parts_cover_it(family: str) -> None:
    architecture, state = tiny_architecture(family), tiny_model(family).state_dict()
    covered: dict[str, int] = {}
    for projection in architecture.projections():
        weight = state[projection.weight]
        assert channel_view(weight, projection).shape[0] == projection.channels
        assert weight.shape[1 - projection.axis] == architecture.hidden_size
        assert projection.start == covered.get(projection.weight, 0)
        covered[projection.weight] = projection.stop
    axes = {projection.weight: projection.axis for projection in architecture.projections()}
    assert covered == {name: state[name].shape[axis] for name, axis in axes.items()}


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gemma3_text"])
def test_head_size_is_read_and_not_derived(family: str) -> None:
    architecture = tiny_architecture(family)
    assert architecture.head_dim == 8 != architecture.hidden_size // architecture.query_heads
    assert the(architecture, Role.Q).channels == 32
    assert the(architecture, Role.K).channels == the(architecture, Role.V).channels == 16


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_lora_targets_are_all_linear_modules_with_roles(family: str) -> None:
    architecture = tiny_architecture(family)
    modules = {projection.module for projection in architecture.projections()}
    matched = {
        name
        for name, module in tiny_model(family).named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(architecture.lora_targets())
    }
    assert matched == modules


def fuse(state: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """Llama weights in Phi-3's storage."""
    block = f"model.layers.{layer}."

    def join(*names: str) -> Tensor:
        return torch.cat([state[f"{block}{name}.weight"] for name in names])

    return {
        f"{block}mlp.gate_up_proj.weight": join("mlp.gate_proj", "mlp.up_proj"),
        f"{block}self_attn.qkv_proj.weight": join("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        f"{block}self_attn.o_proj.weight": state[f"{block}self_attn.o_proj.weight"],
        f"{block}mlp.down_proj.weight": state[f"{block}mlp.down_proj.weight"],
    }


def test_fused_and_split_storage_of_one_model_give_equal_channels_and_logits() -> None:
    llama, phi = tiny_model("llama", rms_norm_eps=1e-5), tiny_model("phi3", rms_norm_eps=1e-5)
    split = llama.state_dict()
    fused = {name: weight for name, weight in split.items() if name in phi.state_dict()}
    fused |= fuse(split, 0) | fuse(split, 1)
    phi.load_state_dict(fused)
    for role in (*MLP_ROLES, *ATTENTION_ROLES):
        ours, theirs = the(tiny_architecture("llama"), role), the(tiny_architecture("phi3"), role)
        assert torch.equal(channel_view(split[ours.weight], ours), channel_view(fused[theirs.weight], theirs))
    tokens = torch.arange(1, 9).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(phi(tokens).logits, llama(tokens).logits, atol=1e-5, rtol=1e-5)


def test_writing_to_a_view_of_up_changes_the_second_half_of_gate_up_alone() -> None:
    projection = the(tiny_architecture("phi3"), Role.UP)
    weight = torch.ones(48, 16)
    channel_view(weight, projection)[3] = 0
    assert weight.eq(0).nonzero()[:, 0].unique().tolist() == [24 + 3]


def test_a_channel_of_down_is_a_column() -> None:
    projection = the(tiny_architecture("llama"), Role.DOWN)
    weight = torch.arange(16 * 24.0).reshape(16, 24)
    assert torch.equal(channel_view(weight, projection)[5], weight[:, 5])


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "16", None])
def test_bad_input_16_sizes_must_be_positive_integers(value: object) -> None:
    with pytest.raises(InputRefused, match="hidden_size"):
        read_shape(SHAPE | {"hidden_size": value})


def test_uneven_head_groups_are_refused() -> None:
    with pytest.raises(InputRefused, match="multiple"):
        describe(read_shape(SHAPE | {"num_key_value_heads": 3}))
