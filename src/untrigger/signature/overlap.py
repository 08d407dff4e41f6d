"""How much two signatures share, and how soon a signature settles as pairs are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from untrigger.config import SignatureOptions
from untrigger.errors import UntriggerError, UsageError
from untrigger.models.architecture import Architecture, Projection
from untrigger.signature.gram import Gram
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


@dataclass(frozen=True)
class Stability:
    """What the signature of the first `pairs` pairs shares with that of all."""

    pairs: int
    jaccard: float | None
    expected_jaccard: float | None
    """By chance, with as many channels of every block and role."""


def stability(
    grams: Mapping[Projection, Gram], architecture: Architecture, options: SignatureOptions
) -> tuple[Stability, ...]:
    """The signatures of the first 2, 3, ... pairs against that of all; raises as `select_signature` for all of them.

    Pairs that show no difference at all select nothing, and share None.
    """
    whole = select_signature(grams, architecture, options)
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
    try:
        shared = overlap(select_signature(first, architecture, options), whole)
    except UntriggerError:  # that some pairs equal their twins is no reason to lose the signature of all
        return Stability(pairs, None, None)
    return Stability(pairs, shared.jaccard, shared.expected_jaccard)
