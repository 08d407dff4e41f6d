"""Averages of one model over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from untrigger.evaluation.rate import Z95
from untrigger.evaluation.utility.scores import Metric
from untrigger.evaluation.utility.tasks import ACC_NORM, AVERAGES


@dataclass(frozen=True)
class Average:
    """A plain mean over tasks with a normal 95 % interval; `normalised` takes acc_norm where a task has it."""

    name: str
    normalised: bool
    value: float
    low: float
    high: float


def averages(metrics: Mapping[str, Sequence[Metric]]) -> list[Average]:
    """avg8, avg2 and avg10, each twice, as far as all of their tasks were run."""
    return [
        _average(name, normalised, [_standing(metrics[task], normalised) for task in tasks])
        for name, tasks in AVERAGES.items()
        if set(tasks) <= set(metrics)
        for normalised in (False, True)
    ]


def _standing(metrics: Sequence[Metric], normalised: bool) -> Metric:
    return next((metric for metric in metrics if normalised and metric.name == ACC_NORM), metrics[0])


def _average(name: str, normalised: bool, metrics: Sequence[Metric]) -> Average:
    value = fmean(metric.value for metric in metrics)
    half = Z95 * sqrt(sum(metric.standard_error**2 for metric in metrics)) / len(metrics)
    return Average(name, normalised, value, value - half, value + half)
