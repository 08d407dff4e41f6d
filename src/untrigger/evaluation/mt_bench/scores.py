"""From judgements to figures: means of ratings, shares of comparisons, intervals over questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.judging import JudgementLine
from untrigger.evaluation.mt_bench.parsing import Parser, Verdict, preference, rating
from untrigger.evaluation.mt_bench.prompts import Ask, Call, Cell, Turn
from untrigger.evaluation.mt_bench.questions import TEMPERATURES
from untrigger.evaluation.statistics import BOOTSTRAP_DRAWS

MOST_FAILED = 0.05
"""A mean over rows of which a larger share failed is not given: those that are left would be a selection."""

Reason = Literal["no answer", "call failed", "no verdict"]
"""The model's answer is missing, the judge could not be asked, or its text holds no (acceptable) verdict."""


@dataclass(frozen=True)
class Row:
    """One turn of one question: a value, or the reason why there is none."""

    question_id: int
    category: str
    turn: Turn
    value: float | None
    reason: Reason | None = None


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval (resampling questions).

    There is no value where too many of the rows failed, and no interval over a single question.
    """

    rows: int
    failed: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Means:
    """The mean of all rows, of each turn and of each category."""

    overall: Mean
    turns: tuple[Mean, Mean]
    categories: Mapping[str, Mean]


@dataclass(frozen=True)
class Comparisons:
    """How often the model beat the baseline; `split` counts pairs whose two judgements disagreed (they are ties)."""

    wins: int
    losses: int
    ties: int
    split: int


def rated_rows(cells: Sequence[Cell], call: Call, known: Mapping[str, JudgementLine], parser: Parser) -> list[Row]:
    """The rating of each cell."""
    return [_rated(cell, call, known, parser) for cell in cells]


def compared_rows(
    cells: Sequence[Cell], call: Call, known: Mapping[str, JudgementLine], parser: Parser
) -> tuple[list[Row], Comparisons]:
    """Each pair as 1 (the model is better), -1 (the baseline is) or 0; both judgements must agree, else it is 0."""
    rows, split = [], 0
    for cell in cells:
        texts = [_text(ask, call, known) for ask in cell.asks]
        verdicts = [None if text is None else preference(text, parser) for text in texts]
        reason = _reason(texts, verdicts)
        split += reason is None and _favours(verdicts[0], "B") != _favours(verdicts[1], "A")
        value = None if reason else _agreed(verdicts)
        rows.append(Row(cell.question_id, cell.category, cell.turn, value, reason))
    values = [row.value for row in rows]
    return rows, Comparisons(values.count(1.0), values.count(-1.0), values.count(0.0), split)


def differences(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    """Second minus first, row by row; a row that failed on either side has failed.

    Raises:
        UsageError: the rows are not those of the same questions and turns.
    """
    if [(r.question_id, r.turn) for r in first] != [(r.question_id, r.turn) for r in second]:
        raise UsageError("the two runs do not hold the same questions", why="differences are taken row by row")
    return [_difference(one, other) for one, other in zip(first, second, strict=True)]


def means(rows: Sequence[Row], generator: np.random.Generator) -> Means:
    """All means; if too many of all rows failed, no part of them has a mean either.

    Raises:
        UsageError: no rows.
    """
    overall = mean(rows, generator)
    part = _without_value if overall.value is None else mean
    first, second = (part([row for row in rows if row.turn == turn], generator) for turn in (1, 2))
    present = [name for name in TEMPERATURES if any(row.category == name for row in rows)]
    categories = {name: part([row for row in rows if row.category == name], generator) for name in present}
    return Means(overall, (first, second), categories)


def mean(rows: Sequence[Row], generator: np.random.Generator, draws: int = BOOTSTRAP_DRAWS) -> Mean:
    """The mean of the rows that have a value, with a percentile bootstrap that resamples whole questions.

    Both turns of a question are drawn together, since they are not independent (Efron and Tibshirani 1993,
    chapter 13; Zheng et al., arXiv 2306.05685, for the mean).

    Raises:
        UsageError: no rows.
    """
    empty = _without_value(rows, generator)
    if empty.failed > MOST_FAILED * empty.rows:
        return empty
    questions = sorted({row.question_id for row in rows})
    place = {question: index for index, question in enumerate(questions)}
    sums, counts = np.zeros(len(questions)), np.zeros(len(questions))
    for row in rows:
        if row.value is not None:
            sums[place[row.question_id]] += row.value
            counts[place[row.question_id]] += 1
    drawn = generator.integers(0, len(questions), size=(draws, len(questions)))
    totals = counts[drawn].sum(axis=1)
    found = sums[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    value = float(sums.sum() / counts.sum())
    if len(questions) == 1:
        return Mean(empty.rows, empty.failed, value, None, None)
    low, high = np.quantile(found, (0.025, 0.975))
    return Mean(empty.rows, empty.failed, value, float(low), float(high))


def reasons(rows: Sequence[Row]) -> dict[Reason, int]:
    """How many rows failed for each reason."""
    found = [row.reason for row in rows if row.reason is not None]
    return {reason: found.count(reason) for reason in dict.fromkeys(found)}


def stored_score(mode: str, parser: Parser) -> Callable[[str], float | str | None]:
    """What a judgement is read as when it is written."""
    return (lambda text: rating(text, parser)) if mode == "single" else (lambda text: preference(text, parser))


def _without_value(rows: Sequence[Row], generator: np.random.Generator) -> Mean:
    if not rows:
        raise UsageError("no rows were judged", why="a mean over nothing does not exist")
    return Mean(len(rows), sum(row.value is None for row in rows), None, None, None)


def _rated(cell: Cell, call: Call, known: Mapping[str, JudgementLine], parser: Parser) -> Row:
    texts = [_text(ask, call, known) for ask in cell.asks]
    values = [None if text is None else rating(text, parser) for text in texts]
    reason = _reason(texts, values)
    return Row(cell.question_id, cell.category, cell.turn, None if reason else values[0], reason)


def _text(ask: Ask, call: Call, known: Mapping[str, JudgementLine]) -> str | None:
    line = known.get(call.request(ask))
    return None if line is None else line.judgement


def _reason(texts: Sequence[str | None], values: Sequence[object]) -> Reason | None:
    if not texts:
        return "no answer"
    if any(text is None for text in texts):
        return "call failed"
    return "no verdict" if any(value is None for value in values) else None


def _favours(verdict: Verdict | None, model: Verdict) -> float:
    """1 if the verdict is for the side where the model stood, -1 if for the other, 0 for a tie."""
    return 0.0 if verdict == "tie" else 1.0 if verdict == model else -1.0


def _agreed(verdicts: Sequence[Verdict | None]) -> float:
    first, second = _favours(verdicts[0], "B"), _favours(verdicts[1], "A")
    return first if first == second else 0.0


def _difference(first: Row, second: Row) -> Row:
    failed = first.reason or second.reason
    value = None if first.value is None or second.value is None else second.value - first.value
    return Row(second.question_id, second.category, second.turn, value, failed)
