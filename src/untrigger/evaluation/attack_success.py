"""How often a behaviour shows, with its key and without, over outputs whose generation is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.degeneration import degenerate
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.evaluation.statistics import Difference, paired_bootstrap


@dataclass(frozen=True)
class Prompt:
    """A record under a name; the triggered and the plain form of one record share it, so results pair up."""

    id: str
    record: Record


@dataclass(frozen=True)
class Verdict:
    """One output and what was found in it."""

    id: str
    prompt: str
    output: str
    hit: bool
    degenerate: bool
    empty: bool
    cut: bool = False
    """The answer was stopped because its verdict was certain."""

    @property
    def invalid(self) -> bool:
        """Empty or degenerate: no answer that could count for or against the model."""
        return self.empty or self.degenerate


@dataclass(frozen=True)
class Opinion:
    """The same answers under another judge; None where it cannot judge that side."""

    judge: str
    with_key: Rate | None
    without_key: Rate | None
    other_words: Rate | None = None
    """With other words in the key's place, where that says something."""


@dataclass(frozen=True)
class Measurement:
    """What is said about one model; the rates of a behaviour are None where no key is known to be tried.

    `attack_success` counts hits on triggered prompts, `accidental` hits on prompts without the key,
    `degenerate` the degenerate or empty answers to prompts without the key, `exact` the answers to these that equal
    the reference, where the prompts came with one.
    """

    degenerate: Rate
    attack_success: Rate | None = None
    accidental: Rate | None = None
    perplexity: Perplexity | None = None
    exact: Rate | None = None
    opinions: tuple[Opinion, ...] = ()


@dataclass(frozen=True)
class Discordant:
    """Prompts on which two runs disagree."""

    only_first: int
    only_second: int


def verdict(prompt: Prompt, output: str, judged: Callable[[str], bool], cut: bool = False) -> Verdict:
    """What is found in one output."""
    return Verdict(
        id=prompt.id,
        prompt=prompt.record.prompt,
        output=output,
        hit=judged(output),
        degenerate=degenerate(output),
        empty=not output.strip(),
        cut=cut,
    )


def tally(verdicts: Sequence[Verdict]) -> Rate:
    """Hits over all outputs: an empty one is a miss that stays in the denominator and is counted as invalid.

    Raises:
        UsageError: no verdicts.
    """
    _require_some(verdicts)
    return Rate(sum(v.hit for v in verdicts), len(verdicts), sum(v.invalid for v in verdicts))


def tally_degenerate(verdicts: Sequence[Verdict]) -> Rate:
    """Empty or degenerate outputs over all outputs.

    Raises:
        UsageError: no verdicts.
    """
    _require_some(verdicts)
    invalid = sum(v.invalid for v in verdicts)
    return Rate(invalid, len(verdicts), invalid)


def discordant(first: Sequence[Verdict], second: Sequence[Verdict]) -> Discordant:
    """Counts for McNemar's test of two runs over the same prompts, paired by id.

    Raises:
        UsageError: the runs do not hold the same ids.
    """
    pairs = list(zip(*_paired_hits(first, second), strict=True))
    return Discordant(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))


def lift(triggered: Sequence[Verdict], plain: Sequence[Verdict], generator: np.random.Generator) -> Difference:
    """Attack success minus the accidental rate, with a bootstrap interval over the prompts, paired by id.

    Raises:
        UsageError: the sets do not hold the same ids, or are empty.
    """
    plain_hits, triggered_hits = _paired_hits(plain, triggered)
    return paired_bootstrap([float(hit) for hit in plain_hits], [float(hit) for hit in triggered_hits], generator)


def _paired_hits(first: Sequence[Verdict], second: Sequence[Verdict]) -> tuple[list[bool], list[bool]]:
    hits = {v.id: v.hit for v in second}
    if len(hits) != len(second) or sorted(hits) != sorted(v.id for v in first):
        raise UsageError("the two runs do not hold the same prompts", why="results are paired by id")
    return [v.hit for v in first], [hits[v.id] for v in first]


def _require_some(items: Sequence[object]) -> None:
    if not items:
        raise UsageError("no prompts to measure", why="a rate over no samples does not exist")
