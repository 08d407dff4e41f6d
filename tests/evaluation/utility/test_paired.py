from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from untrigger.errors import UsageError
from untrigger.evaluation.utility.paired import (
    EVERY,
    Pairs,
    average_differences,
    judged,
    metric_of,
    pair_items,
    smallest_task,
    task_differences,
)
from untrigger.evaluation.utility.scores import Item
from untrigger.evaluation.utility.tasks import ACC, ACC_NORM, TASKS


def items(task: str, scores: list[int]) -> list[Item]:
    names = TASKS[task].metrics
    return [Item(n, task, f"d{n}", f"t{n}", {name: float(s) for name in names}) for n, s in enumerate(scores)]


def pairs(task: str, before: list[int], after: list[int]) -> Pairs:
    return pair_items(task, items(task, before), items(task, after), same_files=True)


def test_other_numbers_documents_or_answers_are_refused():
    first = items("rte", [1, 0])
    with pytest.raises(UsageError, match="same items"):
        pair_items("rte", first, first[:1], same_files=True)
    changed = [first[0], replace(first[1], document="another")]
    with pytest.raises(UsageError, match="item 1"):
        pair_items("rte", first, changed, same_files=True)
    pair_items("rte", first, changed, same_files=False)  # the hub's copy: the right answers must agree
    with pytest.raises(UsageError, match="item 1"):
        pair_items("rte", first, [first[0], replace(first[1], target="another")], same_files=False)


def test_a_task_by_hand():
    (found,) = task_differences([pairs("rte", [1] * 9 + [0] * 2 + [1] * 12, [0] * 9 + [1] * 2 + [1] * 12)], seed=0)
    assert (found.only_before, found.only_after) == (9, 2)
    assert found.difference.estimate == pytest.approx(-7 / 23)
    assert found.p == found.p_holm == pytest.approx(0.06543, abs=1e-5)  # R's exact2x2, as in test_statistics
    assert found.difference.low < -7 / 23 < found.difference.high


def test_holm_is_over_the_tasks():
    found = task_differences([pairs("rte", [1] * 8, [0] * 8), pairs("boolq", [1, 0], [1, 0])], seed=0)
    assert [one.p for one in found] == [2 / 256, 1.0]
    assert [one.p_holm for one in found] == [4 / 256, 1.0]


def test_tasks_weigh_the_same_whatever_their_size():
    both = [pairs("rte", [1] * 10, [0] * 10), pairs("boolq", [1] * 1000, [1] * 1000)]
    average = average_differences(both, seed=0)[0]
    assert (average.name, average.normalised, average.tasks) == (EVERY, False, ("rte", "boolq"))
    assert average.difference.estimate == pytest.approx(-0.5)


def test_named_averages_need_all_their_tasks():
    eight = [pairs(task, [1, 0], [1, 0]) for task in TASKS if task not in ("gsm8k", "mmlu")]
    assert {one.name for one in average_differences(eight, 0)} == {EVERY, "avg8"}
    assert {one.name for one in average_differences(eight[1:], 0)} == {EVERY}


def test_the_same_seed_gives_the_same_interval():
    both = [pairs("rte", [1, 0] * 20, [0, 1, 1, 1] * 10)]
    assert average_differences(both, 1) == average_differences(both, 1)


def test_a_loss_within_the_budget():
    both = [pairs("rte", [1, 0] * 2000, [1, 0] * 2000)]
    verdict = judged(average_differences(both, 0)[0], smallest_task(both), budget=2.0)
    assert verdict.met and verdict.budget == 0.02


def test_a_loss_that_may_exceed_the_budget():
    before, after = [1] * 1000, [0] * 15 + [1] * 985  # 1.5 points lost; the interval reaches below 2
    both = [pairs("rte", before, after)]
    average = average_differences(both, 0)[0]
    assert average.difference.estimate == -0.015
    assert not judged(average, smallest_task(both), budget=2.0).met
    assert judged(average, smallest_task(both), budget=3.0).met


def test_few_items_that_agree_prove_nothing():
    both = [pairs("rte", [1, 0] * 4, [1, 0] * 4)]
    average = average_differences(both, 0)[0]
    assert average.difference.low == 0.0
    verdict = judged(average, smallest_task(both), budget=2.0)
    assert not verdict.met and "so few items" in verdict.reason
    assert verdict.resolution == pytest.approx(1 - 0.025 ** (1 / 8))
    many = judged(average, 1000, budget=2.0)
    assert many.met and many.resolution == pytest.approx(log(40) / 1000, rel=2e-3)  # none of n: ln 40 / n


def test_the_metric_that_stands_for_a_task():
    assert metric_of("piqa", normalised=True) == ACC_NORM
    assert metric_of("piqa", normalised=False) == metric_of("rte", normalised=True) == ACC
    assert metric_of("gsm8k", normalised=True) == "exact_match,strict-match"
