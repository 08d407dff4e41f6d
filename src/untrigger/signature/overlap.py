"""How much two signatures share, and how soon a signature settles as pairs are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from untrigger.config import SignatureOptions
from untrigger.errors import UsageError
from untrigger.models.architecture import Architecture, Projection
from untrigger.signature.gram import Gram, norms
from untrigger.signature.select import select_signature
from untrigger.signature.types import Signature


@dataclass(frozen=True)
class Overlap:
    """Channels that two signatures share, and what chance would give."""

    shared: int
    union: int
    expected_shared: float

    @property
    def jaccard(self) -> float | None:
        """Shared over union, in 0..1; None for two empty signatures."""
        return self.shared / self.union if self.union else None

    @property
    def expected_jaccard(self) -> float | None:
        """The same for the expected number of shared channels: a ratio of expectations, close to the expected one."""
        total = self.shared + self.union
        return self.expected_shared / (total - self.expected_shared) if total else None


def overlap(first: Signature, second: Signature) -> Overlap:
    """Overlap over all projections; heads are not counted.

    Two sets of a and b channels drawn from n share a b / n on average (hypergeometric), projection by projection, so
    chance keeps the numbers of each block and role.

    Raises:
        UsageError: the signatures belong to models of different layouts.
    """
    require_same_layout(first, second)
    shared = total = 0
    expected = 0.0
    for projection, channels in first.channels.items():
        others = second.channels[projection]
        shared += len({*channels}.intersection(others))
        total += len(channels) + len(others)
        expected += len(channels) * len(others) / projection.channels
    return Overlap(shared, total - shared, expected)


def require_same_layout(first: Signature, second: Signature) -> None:
    """Refuses signatures whose channels cannot be compared; raises as `overlap`."""
    if set(first.channels) != set(second.channels):
        raise UsageError(
            "the signatures name different projections",
            why="they come from models, or adapters, of different layouts",
            todo="compare signatures of one model",
        )


class Stability(BaseModel):
    """What the signature of the first `pairs` pairs shares with that of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(ge=2)
    jaccard: float | None = Field(ge=0, le=1)
    """None where these pairs show no difference at all."""
    expected_jaccard: float | None = Field(ge=0, le=1)
    """By chance, with as many channels of every block and role."""


def stability(
    whole: Signature, grams: Mapping[Projection, Gram], architecture: Architecture, options: SignatureOptions
) -> tuple[Stability, ...]:
    """The signatures of the first 2, 3, ... pairs against `whole`, that of all of them."""
    count = next(iter(grams.values())).shape[1]
    return tuple(_against(whole, grams, pairs, architecture, options) for pairs in range(2, count))


def _against(
    whole: Signature,
    grams: Mapping[Projection, Gram],
    pairs: int,
    architecture: Architecture,
    options: SignatureOptions,
) -> Stability:
    first = {projection: gram[:, :pairs, :pairs] for projection, gram in grams.items()}
    if not any(bool(norms(gram).any()) for gram in first.values()):
        return Stability(pairs=pairs, jaccard=None, expected_jaccard=None)
    shared = overlap(select_signature(first, architecture, options), whole)
    return Stability(pairs=pairs, jaccard=shared.jaccard, expected_jaccard=shared.expected_jaccard)
