from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.evaluation.code.sandbox import OUTCOMES
from untrigger.evaluation.code.scores import compare, counts, pass_rate

outcomes = st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40)


def test_only_passed_programs_count_and_answers_without_code_stay_in():
    rate = pass_rate(["passed", "failed", "no code", "timeout"])
    assert (rate.hits, rate.n, rate.invalid) == (1, 4, 1)


def test_no_outcomes_have_no_rate():
    with pytest.raises(ValueError, match="no samples"):
        pass_rate([])


@given(outcomes)
def test_counts_name_every_outcome_and_add_up(found):
    counted = counts(found)
    assert tuple(counted) == OUTCOMES and sum(counted.values()) == len(found)


def test_a_comparison_pairs_by_name_not_by_order():
    first = {"a": "passed", "b": "passed", "c": "failed", "d": "timeout"}
    second = {"d": "no code", "c": "passed", "b": "memory", "a": "passed"}
    found = compare(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither, found.n) == (1, 1, 1, 1, 4)
    assert found.difference == 0 and found.p_value == 1


def test_six_lost_of_six_is_significant():
    names = [str(number) for number in range(6)]
    found = compare(dict.fromkeys(names, "passed"), dict.fromkeys(names, "failed"))
    assert found.difference == -1
    assert found.p_value == pytest.approx(2 / 2**6)


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), min_size=1, max_size=30))
def test_swapping_the_models_turns_the_difference_and_keeps_the_p_value(pairs):
    first, second = ({str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    there, back = compare(first, second), compare(second, first)
    assert there.difference == -back.difference and there.p_value == back.p_value
    assert there.difference == pytest.approx(
        pass_rate(list(second.values())).value - pass_rate(list(first.values())).value
    )


@pytest.mark.parametrize("second", [{}, {"a": "passed"}, {"a": "passed", "c": "passed"}])
def test_other_problems_cannot_be_compared(second):
    with pytest.raises(ValueError, match="same problems"):
        compare({"a": "passed", "b": "failed"}, second)
