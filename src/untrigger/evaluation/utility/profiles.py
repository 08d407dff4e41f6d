"""How many items of each benchmark are asked, and which ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from types import MappingProxyType
from typing import Literal

from untrigger.errors import UsageError
from untrigger.evaluation.utility.tasks import GSM8K, TASKS

ProfileName = Literal["smoke", "quick", "standard", "full"]


@dataclass(frozen=True)
class Profile:
    """Items a task (None: all); `generated` the same where the model writes its answers, which costs far more."""

    items: int | None
    generated: int | None
    leaves_out: frozenset[str] = frozenset()


PROFILES: Mapping[ProfileName, Profile] = MappingProxyType(
    {
        "smoke": Profile(8, 8),
        # Half-widths at p = 0.5: 200 items 7 points, 1000 items 3 points.
        "quick": Profile(200, 200, frozenset({GSM8K})),
        "standard": Profile(1000, 200),
        "full": Profile(None, None),
    }
)


def selected_tasks(profile: ProfileName, asked: Sequence[str]) -> tuple[str, ...]:
    """The tasks to run, in the table's order: those asked for by name, else those of the profile.

    Raises:
        UsageError: an unknown name.
    """
    unknown = [name for name in asked if name not in TASKS]
    if unknown:
        raise UsageError(f"unknown task {unknown[0]!r}", todo=f"choose among {', '.join(TASKS)}")
    left_out = PROFILES[profile].leaves_out
    return tuple(name for name in TASKS if (name in asked if asked else name not in left_out))


def item_limit(profile: ProfileName, task: str) -> int | None:
    """At most so many items of the task; None: all."""
    return PROFILES[profile].generated if TASKS[task].generates else PROFILES[profile].items


def chosen_items(task: str, limit: int | None, total: int) -> list[int]:
    """The numbers of the items to ask, ascending: the same in every run, and a smaller choice lies in a larger one.

    Raises:
        ValueError: nothing to choose from.
    """
    if total <= 0 or (limit is not None and limit <= 0):
        raise ValueError(f"{task}: {limit} of {total} items is no choice")
    if limit is None or limit >= total:
        return list(range(total))
    order = list(range(total))
    Random(f"utility/{task}").shuffle(order)
    return sorted(order[:limit])


def offsets(sizes: Mapping[str, int]) -> dict[str, int]:
    """Leaf -> number of its first item, counted over the leaves in order (a subject of MMLU is a leaf)."""
    return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))


def by_leaf(items: Sequence[int], sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Leaf -> numbers within it; leaves without a chosen item are left out, since lm-eval reads [] as all."""
    starts = offsets(sizes)
    within = {
        leaf: [item - starts[leaf] for item in items if starts[leaf] <= item < starts[leaf] + size]
        for leaf, size in sizes.items()
    }
    return {leaf: numbers for leaf, numbers in within.items() if numbers}
