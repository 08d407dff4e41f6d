"""LoRA layers whose update is added into the base's output: peft's mathematics in fewer operations.

peft computes x Wᵀ + s · (x Aᵀ) Bᵀ with intermediate results as large as the output. Here the low-rank product is
accumulated straight into x Wᵀ, and its gradient into the base's.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from untrigger.models.factors import ADAPTER_NAME
from untrigger.models.linear import OneDnnLinear, product


class FusedLoraLinear(Linear):  # type: ignore[misc]
    """A LoRA layer on a linear module; whatever is more than the plain update is left to peft's own forward."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The module's output, of the shape [..., out]."""
        if args or kwargs or not self._plain(x):
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        fused: Tensor = _LowRankUpdate.apply(  # type: ignore[no-untyped-call]
            x.reshape(-1, x.shape[-1]),
            self.base_layer.weight,
            self.base_layer.bias,
            self.lora_A[ADAPTER_NAME].weight,
            self.lora_B[ADAPTER_NAME].weight,
            self.scaling[ADAPTER_NAME],
        )
        return fused.view(*x.shape[:-1], -1)

    def _plain(self, x: Tensor) -> bool:
        """Whether one plain adapter of the input's type is active, on a frozen linear module that nobody watches."""
        base = self.base_layer
        if self.merged or self.disable_adapters or self.active_adapters != [ADAPTER_NAME]:
            return False
        if ADAPTER_NAME in self.lora_variant or not isinstance(self.lora_dropout[ADAPTER_NAME], nn.Identity):
            return False
        if type(base) not in (nn.Linear, OneDnnLinear):
            return False
        if any(parameter.requires_grad for parameter in base.parameters()):
            return False
        if base._forward_pre_hooks or base._forward_hooks:
            return False
        kinds = {x.dtype, base.weight.dtype, self.lora_A[ADAPTER_NAME].weight.dtype}
        return len(kinds) == 1 and not torch.is_autocast_enabled(x.device.type)


class _LowRankUpdate(torch.autograd.Function):
    """x Wᵀ + bias + scale · (x Aᵀ) Bᵀ with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "token in"],
        weight: Float[Tensor, "out in"],
        bias: Float[Tensor, " out"] | None,
        a: Float[Tensor, "rank in"],
        b: Float[Tensor, "out rank"],
        scale: float,
    ) -> Float[Tensor, "token out"]:
        inner = product(x, a)
        ctx.save_for_backward(x, inner, weight, a, b)
        ctx.scale = scale
        output = product(x, weight).add_(product(inner, b), alpha=scale)
        return output if bias is None else output.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, a, b = ctx.saved_tensors
        back = product(gradient, b.t()).mul_(ctx.scale)
        to_a = product(back.t(), x.t()) if ctx.needs_input_grad[3] else None
        to_b = product(gradient.t(), inner.t()).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        to_x = product(gradient, weight.t()).add_(product(back, a.t())) if ctx.needs_input_grad[0] else None
        return to_x, None, None, to_a, to_b, None


def fuse(config: LoraConfig) -> LoraConfig:
    """Has peft make these layers for the linear modules that an adapter is put on."""
    config._register_custom_module({nn.Linear: FusedLoraLinear})
    return config
