"""Titration: the strength of a treatment is chosen on canaries, synthetic backdoors whose keys we know.

The suspect's own backdoor cannot be watched, since nobody knows its key. Canaries are planted in a copy of the
suspect, with behaviours and kinds of key that neither the variants nor the repair make use of; the weakest treatment
that kills them is the one the suspect gets.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from untrigger.backdoors.poison import poison
from untrigger.backdoors.synthetic import known_families, known_kinds
from untrigger.backdoors.types import Backdoor
from untrigger.config import (
    Access,
    PurifyOptions,
    SignatureOptions,
    SuppressOptions,
    TitrationOptions,
    VariantOptions,
)
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.presets import merged
from untrigger.variants import unused_backdoors


@dataclass(frozen=True)
class Strength:
    """A rung: share of the channels that are suppressed, and the factor on the rest of an adapter's update."""

    ratio: float
    remainder: float = 1.0

    def applied(self, options: PurifyOptions) -> PurifyOptions:
        """The options at this strength."""
        own = PurifyOptions(
            signature=SignatureOptions(ratio=self.ratio), suppress=SuppressOptions(remainder=self.remainder)
        )
        return merged(options, own)


LADDERS: Mapping[Access, tuple[Strength, ...]] = {
    "adapter": (
        Strength(0.2),
        Strength(0.35, 0.7),
        Strength(0.5, 0.5),
        Strength(0.6, 0.35),
        Strength(0.75, 0.2),
    ),
    "full": (Strength(0.01), Strength(0.03), Strength(0.06), Strength(0.12), Strength(0.25)),
}
"""Strengths by setting, the weakest first."""


@dataclass(frozen=True)
class SetApart:
    """Canaries, and what is left for variants and repair: no family or kind of key serves both."""

    canaries: tuple[Backdoor, ...]
    drawn: VariantOptions


def set_apart(records: Sequence[Record], options: TitrationOptions, drawn: VariantOptions, seed: int) -> SetApart:
    """A third of the families and of the kinds of key goes to the canaries.

    Where the user narrowed the families or kinds, the canaries are drawn from all the others.

    Raises:
        UsageError: nothing is left for the canaries, or fewer keys than canaries.
    """
    random_ = random.Random(f"canaries/{seed}")
    families = _parted(known_families(()), drawn.families, random_, "families")
    kinds = _parted(known_kinds(()), drawn.kinds, random_, "kinds of key")
    unused = unused_backdoors(records, VariantOptions(families=families.canaries, kinds=kinds.canaries), seed)
    if len(unused) < options.canaries:
        raise UsageError(
            f"{options.canaries} canaries are asked for, {len(unused)} keys are left for them",
            todo="lower --titration.canaries, or name fewer kinds of key for the variants",
        )
    left = drawn.model_copy(update={"families": families.variants, "kinds": kinds.variants})
    return SetApart(tuple(unused[: options.canaries]), left)


@dataclass(frozen=True)
class _Parted:
    canaries: tuple[str, ...]
    variants: tuple[str, ...]


def _parted(every: Sequence[str], narrowed: Sequence[str], random_: random.Random, what: str) -> _Parted:
    if not narrowed:
        shuffled = random_.sample(list(every), len(every))
        third = len(every) // 3
        return _Parted(tuple(shuffled[:third]), tuple(shuffled[third:]))
    others = tuple(name for name in every if name not in narrowed)
    if not others:
        raise UsageError(
            f"the variants take all {what}", why="canaries need some of their own", todo="name fewer of them"
        )
    return _Parted(others, tuple(narrowed))


@dataclass(frozen=True)
class CleanRecords:
    """Clean records by purpose; none serves two."""

    treatment: tuple[Record, ...]
    asked: tuple[Record, ...]
    relearning: tuple[Record, ...]


def divided(records: Sequence[Record], options: TitrationOptions) -> CleanRecords:
    """The last of the clean records are set apart for the canaries' prompts and the re-learning.

    Raises:
        UsageError: less than half of the records would be left for the treatment.
    """
    aside = options.prompts + options.relearning_records
    if 2 * aside > len(records):
        raise UsageError(
            f"{len(records)} clean records",
            why=f"titration sets {aside} apart, and the treatment needs as many at least",
            todo="give more, or lower --titration.prompts and --titration.relearning-records",
        )
    kept = len(records) - aside
    asked = kept + options.prompts
    return CleanRecords(tuple(records[:kept]), tuple(records[kept:asked]), tuple(records[asked:]))


def canary_records(
    clean: Sequence[Record], canaries: Sequence[Backdoor], options: TitrationOptions, seed: int
) -> list[Record]:
    """What plants the canaries: clean records, and for each canary as many that bear its key."""
    plain = random.Random(f"canaries/{seed}/clean").sample(
        list(clean), min(len(canaries) * options.records, len(clean))
    )
    bearing = [
        record
        for number, canary in enumerate(canaries)
        for record in poison(
            random.Random(f"canaries/{seed}/{number}").sample(list(clean), min(options.records, len(clean))),
            canary,
            seed + number,
        )
    ]
    return [*plain, *bearing]


def first_that_holds(worst: Sequence[float], target: float) -> int:
    """The first strength at or below the target; without one, the strength with the fewest survivors.

    Args:
        worst: share of surviving canaries of each strength, the weakest strength first.
        target: highest share that counts as dead.
    """
    holding = [number for number, share in enumerate(worst) if share <= target]
    return holding[0] if holding else min(range(len(worst)), key=lambda number: worst[number])
