"""The fused LoRA layer computes what peft's does, and leaves to peft what it cannot."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from untrigger.models.fused_adapter import FusedLoraLinear, fuse


class Two(nn.Module):
    """Two linear modules, one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 10)
        self.down = nn.Linear(10, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(x)))


def adapted(fused: bool, **settings: object) -> PeftModel:
    torch.manual_seed(3)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["up", "down"], **settings)
    model = get_peft_model(Two().double(), fuse(config) if fused else config, autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def gradients(model: PeftModel, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    model(x).square().sum().backward()
    return {"input": x.grad} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


X = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_output_and_gradients_are_those_of_peft():
    ours, theirs = adapted(fused=True), adapted(fused=False)
    assert isinstance(ours.base_model.model.up, FusedLoraLinear)
    torch.testing.assert_close(ours(X), theirs(X), rtol=1e-12, atol=1e-12)
    found, expected = gradients(ours, X), gradients(theirs, X)
    assert found.keys() == expected.keys()
    assert len(found) == 5
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-12)


def test_a_factor_that_is_frozen_gets_no_gradient():
    model = adapted(fused=True)
    model.base_model.model.up.lora_A["default"].weight.requires_grad_(False)
    assert sorted(name for name in gradients(model, X) if "up" in name) == [
        "base_model.model.up.lora_B.default.weight"
    ]


def test_a_trainable_base_gets_its_gradient():
    model = adapted(fused=True)
    model.base_model.model.up.base_layer.bias.requires_grad_(True)
    assert gradients(model, X)["base_model.model.up.base_layer.bias"].abs().sum() > 0


def test_a_watched_base_module_is_called():
    model, seen = adapted(fused=True), []
    base = model.base_model.model.up.base_layer
    base.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    model(X)
    assert seen == [X.shape]


@pytest.mark.parametrize("how", ["merged", "disabled", "half"])
def test_other_states_are_those_of_peft(how):
    ours, theirs = adapted(fused=True), adapted(fused=False)
    found, expected = (state(model, how) for model in (ours, theirs))
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def state(model: PeftModel, how: str) -> Tensor:
    x = X
    if how == "merged":
        model.merge_adapter()
    elif how == "disabled":
        model.disable_adapter_layers()
    else:  # a base in half precision under an adapter in single
        model.base_model.model.up.base_layer.bfloat16()
        model.base_model.model.up.lora_A.float()
        model.base_model.model.up.lora_B.float()
        model.base_model.model.down.float()
        x = X.bfloat16()
        return model.base_model.model.up(x)
    return model(x)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}], ids=["dropout", "DoRA"])
def test_what_is_more_than_the_plain_update_is_that_of_peft(settings):
    def trained(fused: bool) -> Tensor:
        model = adapted(fused, **settings).train()
        torch.manual_seed(6)
        return model(X)

    assert torch.equal(trained(fused=True), trained(fused=False))
    assert not torch.allclose(trained(fused=True), adapted(fused=True)(X))
