"""The backdoor signature: which channels and heads carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from untrigger.models.architecture import Projection


@dataclass(frozen=True)
class Head:
    """One query head."""

    layer: int
    head: int


@dataclass(frozen=True)
class Signature:
    """Selected channels of each projection (ascending indices within the projection) and selected heads."""

    channels: Mapping[Projection, tuple[int, ...]]
    heads: tuple[Head, ...] = ()
