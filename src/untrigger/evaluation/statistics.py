"""Paired comparisons: is the difference between two runs on the same prompts more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from untrigger.errors import UsageError

BOOTSTRAP_DRAWS = 10_000
FEW_KINDS = 16
"""So many different values, or fewer, are resampled as counts: right or wrong answers, ratings."""


@dataclass(frozen=True)
class Difference:
    """Mean of `second - first` over n pairs, with a two-sided 95 % interval."""

    estimate: float
    low: float
    high: float
    n: int


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test: a fair coin over the discordant pairs.

    Args:
        only_first: prompts that hit in the first run alone.
        only_second: prompts that hit in the second run alone.

    Returns:
        Twice the binomial tail of the rarer kind, at most 1; 1 without discordant pairs (Fay, "Exact
        McNemar's test and matching confidence intervals", 2010).

    Raises:
        ValueError: a negative count.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"discordant counts {only_first} and {only_second} must not be negative")
    pairs = only_first + only_second
    term = tail = 1  # binomial coefficients, each from the one before: exact, and fast for thousands of pairs
    for count in range(min(only_first, only_second)):
        term = term * (pairs - count) // (count + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << pairs))


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    generator: np.random.Generator,
    draws: int = BOOTSTRAP_DRAWS,
) -> Difference:
    """Percentile bootstrap of the mean difference, resampling pairs (Efron and Tibshirani 1993, chapter 13).

    Raises:
        UsageError: no pairs, or series of unequal length.
    """
    if len(first) != len(second) or not first:
        raise UsageError(
            f"{len(first)} and {len(second)} values make no pairs", why="equal, non-empty series are needed"
        )
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    low, high = np.quantile(resampled_means(differences, generator, draws), (0.025, 0.975))
    return Difference(float(differences.mean()), float(low), float(high), len(differences))


def stratified_bootstrap(
    strata: Sequence[tuple[Sequence[float], Sequence[float]]],
    generator: np.random.Generator,
    draws: int = BOOTSTRAP_DRAWS,
) -> Difference:
    """Percentile bootstrap of the plain mean over strata of their mean differences; each is resampled by itself.

    Args:
        strata: the first and second values of each stratum (a task); strata weigh the same, whatever their size.
        generator: where the draws come from.
        draws: how many.

    Raises:
        UsageError: no stratum, or one without pairs or of unequal lengths.
    """
    if not strata or any(len(first) != len(second) or not first for first, second in strata):
        raise UsageError("a stratum without pairs", why="equal, non-empty series are needed")
    differences = [np.asarray(second, dtype=np.float64) - np.asarray(first) for first, second in strata]
    means = np.mean([resampled_means(values, generator, draws) for values in differences], axis=0)
    low, high = np.quantile(means, (0.025, 0.975))
    estimate = np.mean([values.mean() for values in differences])
    return Difference(float(estimate), float(low), float(high), sum(len(values) for values in differences))


def resampled_means(
    values: Float64[np.ndarray, " n"], generator: np.random.Generator, draws: int
) -> Float64[np.ndarray, " draws"]:
    """The means of `draws` samples of the values, each of n values drawn with replacement."""
    n = len(values)
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) <= FEW_KINDS:  # how often each kind is drawn is multinomial: a thousand times faster
        means: Float64[np.ndarray, " draws"] = generator.multinomial(n, counts / n, size=draws) @ kinds / n
        return means
    return np.asarray([values[generator.integers(0, n, size=n)].mean() for _ in range(draws)])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm, "A simple sequentially rejective test", 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
