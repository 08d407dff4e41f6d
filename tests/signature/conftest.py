"""Layouts and random deltas that the signature's tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from untrigger.models.architecture import Architecture, ModelShape, describe


@pytest.fixture(scope="session")
def tiny() -> Architecture:
    """Two blocks, hidden 16, 24 neurons, 4 query heads over 2 key-value heads of size 6 (not hidden / heads)."""
    return describe(ModelShape("llama", 2, 16, 24, 4, 2, 6))


@pytest.fixture(scope="session")
def draw() -> Callable[..., Tensor]:
    """Standard normal float64 tensors by seed and shape."""

    def normal(seed: int, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return normal
