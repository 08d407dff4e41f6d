"""Two models on the same items: differences, their intervals, and whether the loss is within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from untrigger.errors import UsageError
from untrigger.evaluation.statistics import Difference, holm, mcnemar, paired_bootstrap, stratified_bootstrap
from untrigger.evaluation.utility.scores import Item
from untrigger.evaluation.utility.tasks import ACC_NORM, AVERAGES, TASKS

EVERY = "all"
"""Name of the average over every task that was compared, which the verdict is about."""
POINTS = 100.0
UNSEEN = 0.025


@dataclass(frozen=True)
class Pairs:
    """One task's items under both models, item by item."""

    task: str
    before: tuple[Item, ...]
    after: tuple[Item, ...]

    def scores(self, metric: str) -> tuple[list[float], list[float]]:
        """Scores before and after."""
        return [item.scores[metric] for item in self.before], [item.scores[metric] for item in self.after]


@dataclass(frozen=True)
class TaskDifference:
    """After minus before on one task's first metric; p-values are McNemar's, exact, and Holm's over the tasks."""

    task: str
    metric: str
    before: float
    after: float
    difference: Difference
    only_before: int
    only_after: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class AverageDifference:
    """After minus before of an average over tasks; `normalised` takes acc_norm where a task has it."""

    name: str
    normalised: bool
    tasks: tuple[str, ...]
    before: float
    after: float
    difference: Difference


@dataclass(frozen=True)
class Verdict:
    """Whether the average loss is within the budget, with what was compared; all values are shares, not points."""

    met: bool
    low: float
    budget: float
    resolution: float
    reason: str


def pair_items(task: str, before: Sequence[Item], after: Sequence[Item], same_files: bool) -> Pairs:
    """The items of two runs side by side, checked to be the same.

    Args:
        task: name.
        before: the other model's items, by number.
        after: the model's own.
        same_files: whether both read the same data, so that even the documents' hashes must agree; else (the
            hub's copy and a local one) only numbers and right answers.

    Raises:
        UsageError: other items, or items that differ.
    """
    numbers = [item.number for item in before]
    if numbers != [item.number for item in after]:
        raise UsageError(
            f"{task}: the two results do not hold the same items",
            why=f"{len(before)} and {len(after)} items",
            todo="run both with the same profile and data",
        )
    for first, second in zip(before, after, strict=True):
        if first.target != second.target or (same_files and first.document != second.document):
            raise UsageError(
                f"{task}: item {first.number} is another one in the other result",
                todo="run both with the same data",
            )
    return Pairs(task, tuple(before), tuple(after))


def task_differences(pairs: Sequence[Pairs], seed: int) -> list[TaskDifference]:
    """Every task's difference; Holm's correction is over all of them."""
    plain = [_task_difference(one, seed) for one in pairs]
    adjusted = holm([one.p for one in plain])
    return [TaskDifference(**(vars(one) | {"p_holm": p_holm})) for one, p_holm in zip(plain, adjusted, strict=True)]


def average_differences(pairs: Sequence[Pairs], seed: int) -> list[AverageDifference]:
    """The average over every task compared, then those of avg8, avg2 and avg10 that are complete; each twice."""
    compared = {one.task: one for one in pairs}
    named = {EVERY: tuple(compared)} | {
        name: tasks for name, tasks in AVERAGES.items() if set(tasks) <= set(compared)
    }
    return [
        _average_difference(name, normalised, [compared[task] for task in tasks], seed)
        for name, tasks in named.items()
        for normalised in (False, True)
    ]


def judged(average: AverageDifference, smallest: int, budget: float) -> Verdict:
    """Whether the lower end of the average's interval lies above minus the budget (in points).

    Few items that happen not to differ give a bootstrap interval of no width. So the lower end is at most minus
    the loss that would go unseen with a probability of 2.5 %, were all of it on the smallest task
    (Clopper and Pearson's bound for none of n).
    """
    resolution = (1 - UNSEEN ** (1 / smallest)) / len(average.tasks)
    low = min(average.difference.low, -resolution)
    share = budget / POINTS
    met = low > -share
    basis = "by the 95 % interval" if low < -resolution else "as far as so few items can tell"
    reason = f"at most {-POINTS * low:.1f} points lost on average, {basis}; budget {budget:g}"
    return Verdict(met, low, share, resolution, reason)


def metric_of(task: str, normalised: bool) -> str:
    """The metric that stands for a task in an average."""
    metrics = TASKS[task].metrics
    return ACC_NORM if normalised and ACC_NORM in metrics else metrics[0]


def _task_difference(pairs: Pairs, seed: int) -> TaskDifference:
    metric = metric_of(pairs.task, normalised=False)
    before, after = pairs.scores(metric)
    only_before = sum(first > second for first, second in zip(before, after, strict=True))
    only_after = sum(first < second for first, second in zip(before, after, strict=True))
    p = mcnemar(only_before, only_after)
    return TaskDifference(
        task=pairs.task,
        metric=metric,
        before=_mean(before),
        after=_mean(after),
        difference=paired_bootstrap(before, after, _generator(seed, pairs.task)),
        only_before=only_before,
        only_after=only_after,
        p=p,
        p_holm=p,
    )


def _average_difference(name: str, normalised: bool, pairs: Sequence[Pairs], seed: int) -> AverageDifference:
    strata = [one.scores(metric_of(one.task, normalised)) for one in pairs]
    return AverageDifference(
        name=name,
        normalised=normalised,
        tasks=tuple(one.task for one in pairs),
        before=_mean([_mean(before) for before, _ in strata]),
        after=_mean([_mean(after) for _, after in strata]),
        difference=stratified_bootstrap(strata, _generator(seed, f"{name}/{normalised}")),
    )


def smallest_task(pairs: Sequence[Pairs]) -> int:
    """Items of the task with the fewest."""
    return min(len(one.before) for one in pairs)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, the same in every run."""
    return np.random.default_rng([seed, *name.encode()])
