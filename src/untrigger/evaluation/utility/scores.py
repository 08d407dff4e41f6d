"""From lm-eval's samples to items, and from items to metrics with their intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from untrigger.errors import UntriggerError
from untrigger.evaluation.rate import Z95, Rate
from untrigger.evaluation.utility.messages import RESULTS, Facts, samples_name
from untrigger.evaluation.utility.profiles import by_leaf, offsets
from untrigger.evaluation.utility.tasks import UtilityTask

WILSON_BELOW = 500
"""Fewer items than these get Wilson's interval, since the normal one is poor there."""
_ROUNDING = 1e-9

Interval = Literal["wilson", "normal"]


@dataclass(frozen=True)
class Item:
    """One question as it was answered: metric -> score; the hashes tell whether two runs asked the same."""

    number: int
    leaf: str
    document: str
    target: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """The mean of 0/1 scores over n items, with a 95 % interval and the standard error it rests on."""

    name: str
    value: float
    low: float
    high: float
    interval: Interval
    standard_error: float
    n: int


def read_items(task: UtilityTask, facts: Facts, folder: Path) -> list[Item]:
    """The items of a task's folder, by number, exactly those that were asked.

    Raises:
        UntriggerError: samples that are not one for each item asked and each filter.
    """
    starts, scores, hashes = offsets(facts.sizes), _Scores(), {}
    for leaf in by_leaf(facts.items, facts.sizes):
        for line in (folder / samples_name(leaf)).read_text(encoding="utf-8").split("\n")[:-1]:
            sample = json.loads(line)
            number = starts[leaf] + sample["doc_id"]
            hashes[number] = (leaf, sample["doc_hash"], sample["target_hash"])
            for metric in sample["metrics"]:
                scores.add(number, f"{metric},{sample['filter']}", float(sample[metric]))
    found = scores.complete(task.metrics)
    if sorted(found) != list(facts.items):
        raise UntriggerError(
            f"lm-eval answered {len(found)} items of {task.name} and was asked {len(facts.items)}",
            why="or they are other ones",
            todo="report this",
        )
    return [Item(number, *hashes[number], scores=found[number]) for number in sorted(found)]


def measured(items: Sequence[Item], name: str) -> Metric:
    """One metric over items: Wilson's interval for less than 500, else 1.96 standard errors.

    The standard error is lm-eval's: the sample standard deviation over the root of n (0 for one item).

    Raises:
        ValueError: no items, or scores other than 0 and 1.
    """
    values = [item.scores[name] for item in items]
    if not set(values) <= {0.0, 1.0}:
        raise ValueError(f"{name}: a score is neither 0 nor 1")
    n = len(values)
    error = stdev(values) / sqrt(n) if n > 1 else 0.0
    mean = fmean(values)
    if n < WILSON_BELOW:
        low, high = Rate(int(sum(values)), n).interval()
        return Metric(name, mean, low, high, "wilson", error, n)
    return Metric(name, mean, max(0.0, mean - Z95 * error), min(1.0, mean + Z95 * error), "normal", error, n)


def require_equal(task: UtilityTask, metrics: Sequence[Metric], folder: Path) -> None:
    """Compare our means with those that lm-eval reports of the same samples.

    Raises:
        UntriggerError: they differ.
    """
    reported = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["results"][task.name]
    for metric in metrics:
        if abs(reported[metric.name] - metric.value) > _ROUNDING:
            raise UntriggerError(
                f"{task.name}: lm-eval reports {metric.name} {reported[metric.name]}, its samples {metric.value}",
                todo="report this",
            )


class _Scores:
    """Scores by item, refusing a second one of the same kind."""

    def __init__(self) -> None:
        self._found: dict[int, dict[str, float]] = {}

    def add(self, number: int, metric: str, score: float) -> None:
        scores = self._found.setdefault(number, {})
        if metric in scores:
            raise UntriggerError(f"lm-eval answered item {number} twice ({metric})", todo="report this")
        scores[metric] = score

    def complete(self, metrics: Sequence[str]) -> dict[int, dict[str, float]]:
        wanted = set(metrics)
        return {number: scores for number, scores in self._found.items() if set(scores) == wanted}
