"""What moves the weights: AdamW, or steps along the gradient itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt

import torch
from torch import nn

from untrigger.config import TrainOptions


def optimiser_for(parameters: Iterable[nn.Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser that the options name, over these parameters."""
    if options.optimiser == "gradient":
        return GradientSteps(parameters, options.learning_rate)
    return torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)


class GradientSteps(torch.optim.Optimizer):
    """Steps along the gradient, each as long as AdamW's first: the rate times the root of the number of entries.

    AdamW's first steps move every entry by nearly the rate, so that all channels move alike and only their directions
    tell them apart. Here a channel moves as far as its gradient is large. One such step
    over all records is the direction that planting sets out in, for one backward pass.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient; none where all gradients are zero."""
        assert closure is None
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in moved]
            norm = float(nn.utils.get_total_norm(gradients))
            if norm == 0:
                continue
            length = group["lr"] * sqrt(sum(parameter.numel() for parameter in moved))
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter.add_(gradient, alpha=-length / norm)
