"""How the next token is picked from logits: the likeliest, or one drawn with a seed a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Below 1 by two steps of single precision: a number times the total then never rounds up to the total.
_BELOW_ONE = 1.0 - 2.0**-23

Pick = Callable[[Tensor, Sequence[int]], Tensor]
"""Logits of the prompts of these numbers -> the token of each."""


@dataclass(frozen=True)
class Sampling:
    """Tokens drawn from the softmax of logits / `temperature`, with nothing cut off; one seed a prompt."""

    temperature: float
    seeds: tuple[int, ...]


def picker(sampling: Sampling | None) -> Pick:
    """The rule for prompts that have not begun: greedy without sampling."""
    if sampling is None:
        return _likeliest
    generators = [torch.Generator().manual_seed(seed) for seed in sampling.seeds]
    return partial(_drawn, sampling.temperature, generators)


def draw(logits: Float[Tensor, "row vocabulary"], numbers: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The token of each row at which its cumulated softmax passes a number in 0..1 (inverse transform sampling)."""
    cumulated = logits.float().softmax(dim=-1).cumsum(dim=-1)
    wanted = numbers[:, None].to(cumulated) * _BELOW_ONE * cumulated[:, -1:]
    return torch.searchsorted(cumulated, wanted, right=True).squeeze(1)


def _likeliest(logits: Tensor, rows: Sequence[int]) -> Tensor:
    return logits.argmax(dim=-1)


def _drawn(temperature: float, generators: Sequence[torch.Generator], logits: Tensor, rows: Sequence[int]) -> Tensor:
    numbers = torch.cat([torch.rand(1, generator=generators[row]) for row in rows])
    return draw(logits.float() / temperature, numbers)
