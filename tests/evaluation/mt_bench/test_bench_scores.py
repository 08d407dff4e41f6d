from __future__ import annotations

import numpy as np
import pytest

from untrigger.config import JudgeOptions
from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.judging import JudgementLine, judgements
from untrigger.evaluation.mt_bench.prompts import Ask, Call, Cell
from untrigger.evaluation.mt_bench.scores import (
    Row,
    compared_rows,
    differences,
    mean,
    means,
    rated_rows,
    reasons,
)

CALL = Call("http://h/v1", "j", JudgeOptions())


def rows(values, category="writing"):
    """Two turns a question."""
    return [Row(81 + index // 2, category, 1 + index % 2, value) for index, value in enumerate(values)]


def rng():
    return np.random.default_rng(0)


def test_a_mean_with_its_interval_over_questions():
    found = mean(rows([4.0, 6.0] * 40), rng())
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)  # all questions are alike, turns are not drawn
    spread = mean(rows([2.0] * 80 + [8.0] * 80), rng())
    assert spread.value == 5.0
    # 80 questions with deviation 3: the standard error is 3 / sqrt(80) = 0.335
    assert spread.high - spread.low == pytest.approx(2 * 1.96 * 0.335, rel=0.06)


def test_failed_rows_are_counted_and_left_out_of_the_mean():
    found = mean(rows([None, *[6.0] * 159]), rng())
    assert (found.value, found.rows, found.failed) == (6.0, 160, 1)


@pytest.mark.parametrize(("failed", "given"), [(8, True), (9, False)])
def test_no_mean_above_five_percent_of_failed_rows(failed, given):
    found = means(rows([None] * failed + [6.0] * (160 - failed)), rng())
    assert (found.overall.value is not None) == given
    assert found.overall.failed == failed
    if not given:
        assert [found.turns[0].value, found.turns[1].value, found.categories["writing"].value] == [None] * 3


def test_a_category_of_failures_has_no_mean_though_the_whole_has():
    found = means([*rows([None] * 2 + [5.0] * 18, "math"), *rows([7.0] * 140)], rng())
    assert found.overall.value is not None
    assert found.categories["math"].value is None
    assert found.categories["writing"].value == 7.0
    assert list(found.categories) == ["writing", "math"]


def test_means_by_turn():
    found = means(rows([4.0, 6.0] * 10), rng())
    assert [turn.value for turn in found.turns] == [4.0, 6.0]
    assert [turn.rows for turn in found.turns] == [10, 10]


def test_a_single_question_has_no_interval_and_no_rows_no_mean():
    assert mean(rows([4.0, 6.0]), rng()).low is None
    with pytest.raises(UsageError):
        mean([], rng())


def test_differences_are_taken_row_by_row():
    first, second = rows([4.0, 6.0, None, 5.0]), rows([5.0, 4.0, 3.0, 5.0])
    assert [row.value for row in differences(first, second)] == [1.0, -2.0, None, 0.0]
    with pytest.raises(UsageError, match="same questions"):
        differences(first, second[1:])


def ask(number, text="x"):
    return Ask(number, 1, "single-v1", "m", "system", f"{text} {number}")


def line(request, judgement, error=None):
    return JudgementLine(
        question_id=1,
        turn=1,
        judge="j",
        prompt="p",
        model="m",
        user_prompt="u",
        judgement=judgement,
        score=None,
        error=error,
        request=request,
        answered_as=None,
        finish_reason=None,
        cached=False,
        tstamp=0.0,
    )


def test_every_reason_for_a_missing_rating_is_told():
    asks = [ask(number) for number in range(4)]
    cells = [Cell(number, "writing", 1, (asks[number],)) for number in range(4)] + [Cell(9, "writing", 1, ())]
    lines = [
        line(CALL.request(asks[0]), "Rating: [[7]]"),
        line(CALL.request(asks[1]), "no idea"),
        line(CALL.request(asks[2]), None, "status 500"),
    ]
    found = rated_rows(cells, CALL, judgements(lines), "strict")
    assert [row.value for row in found] == [7.0, None, None, None, None]
    assert reasons(found) == {"no verdict": 1, "call failed": 2, "no answer": 1}


@pytest.mark.parametrize(
    ("first", "swapped", "value", "split"),
    [
        ("[[B]]", "[[A]]", 1.0, 0),
        ("[[A]]", "[[B]]", -1.0, 0),
        ("[[C]]", "[[C]]", 0.0, 0),
        ("[[A]]", "[[A]]", 0.0, 1),
        ("[[B]]", "[[C]]", 0.0, 1),
        ("[[B]]", "none", None, 0),
    ],
)
def test_pairs_count_only_where_both_judgements_agree(first, swapped, value, split):
    one, two = ask(1, "first"), ask(1, "swapped")
    known = judgements([line(CALL.request(one), first), line(CALL.request(two), swapped)])
    found, counts = compared_rows([Cell(1, "writing", 1, (one, two))], CALL, known, "strict")
    assert [row.value for row in found] == [value]
    assert counts.split == split
    assert (counts.wins, counts.losses, counts.ties) == (value == 1.0, value == -1.0, value == 0.0)


def test_a_judgement_outlives_failures_before_and_after_it():
    lines = [line("a", None, "e1"), line("a", "[[7]]"), line("a", None, "e2"), line("b", None, "e1"), line("b", None)]
    known = judgements(lines)
    assert known["a"].judgement == "[[7]]"
    assert known["b"] is lines[4]
