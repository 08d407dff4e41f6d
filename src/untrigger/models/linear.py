"""Linear layers of single precision on processors, multiplied by oneDNN.

PyTorch has MKL multiply such matrices; on an AMD EPYC with AVX-512 that is less than half as fast as oneDNN, and as
fast as with AVX2 alone (benchmarks/products.py). oneDNN makes a kernel for every new shape, in about 0.3 ms, which
small products do not earn back.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 2**20
"""Multiplications of the smallest product that is oneDNN's."""
ONE_DNN = bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Float[Tensor, "token in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "token out"]:
    """The product x Wᵀ without gradients; both may be views."""
    single = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not (ONE_DNN and single and x.shape[0] * weight.numel() >= SMALLEST):
        return x @ weight.t()
    multiplied: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return multiplied


class _Linear(torch.autograd.Function):
    """x Wᵀ + bias with gradients for all three, which have gradients themselves."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "token in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "token out"]:
        to_x, to_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if to_weight else None, weight if to_x else None)
        output = product(x, weight)
        return output if bias is None else output.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x = linear(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        to_weight = linear(gradient.t(), x.t()) if ctx.needs_input_grad[1] else None
        to_bias = gradient.sum(dim=0) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


def linear(
    x: Float[Tensor, "token in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None = None
) -> Float[Tensor, "token out"]:
    """The layer x Wᵀ + bias."""
    output: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return output


class OneDnnLinear(nn.Linear):
    """A linear layer whose products are oneDNN's where that is the faster."""

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, of the shape [..., out]."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias).view(*x.shape[:-1], self.out_features)


def use_one_dnn_(model: nn.Module) -> None:
    """Makes every plain linear layer of a model one of these, in place."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
