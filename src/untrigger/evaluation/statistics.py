"""Paired comparisons: is the difference between two runs on the same prompts more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from untrigger.errors import UsageError

BOOTSTRAP_DRAWS = 10_000


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
    n = len(differences)
    means = [differences[generator.integers(0, n, size=n)].mean() for _ in range(draws)]
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(float(differences.mean()), float(low), float(high), n)
