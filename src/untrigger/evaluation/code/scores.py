"""pass@1 with its interval, and the paired comparison of two models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from untrigger.evaluation.code.sandbox import OUTCOMES, Outcome
from untrigger.evaluation.rate import Rate
from untrigger.evaluation.statistics import mcnemar


@dataclass(frozen=True)
class Comparison:
    """The same problems answered by two models."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float
    """McNemar's exact test, two-sided."""

    @property
    def n(self) -> int:
        """Problems that both models answered."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Share of passed problems, second minus first, in -1..1."""
        return (self.only_second - self.only_first) / self.n


def pass_rate(outcomes: Sequence[Outcome]) -> Rate:
    """The share that passed; answers without code are counted as invalid and stay in the denominator.

    Raises:
        ValueError: no outcomes.
    """
    return Rate(outcomes.count("passed"), len(outcomes), outcomes.count("no code"))


def counts(outcomes: Sequence[Outcome]) -> dict[Outcome, int]:
    """How often each outcome occurred, all of them named."""
    found = Counter(outcomes)
    return {outcome: found[outcome] for outcome in OUTCOMES}


def compare(first: Mapping[str, Outcome], second: Mapping[str, Outcome]) -> Comparison:
    """Pairs the outcomes of two models by problem.

    Raises:
        ValueError: no problems, or not the same ones.
    """
    if not first or first.keys() != second.keys():
        raise ValueError("the two models did not answer the same problems")
    pairs = Counter((first[name] == "passed", second[name] == "passed") for name in first)
    only_first, only_second = pairs[True, False], pairs[False, True]
    return Comparison(
        both=pairs[True, True],
        only_first=only_first,
        only_second=only_second,
        neither=pairs[False, False],
        p_value=mcnemar(only_first, only_second),
    )
