from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.errors import UsageError
from untrigger.evaluation.utility.profiles import (
    PROFILES,
    by_leaf,
    chosen_items,
    item_limit,
    offsets,
    selected_tasks,
)
from untrigger.evaluation.utility.tasks import AVERAGES, TASKS, wants_template


def test_the_choice_is_the_same_for_ever():
    assert chosen_items("rte", 5, 277) == [52, 75, 237, 249, 267]
    assert chosen_items("boolq", 5, 277) != chosen_items("rte", 5, 277)


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_choice_lies_in_a_larger_one(total, first, second):
    small, large = (chosen_items("piqa", count, total) for count in sorted((first, second)))
    assert set(small) <= set(large) <= set(range(total))
    assert small == sorted(set(small)) and len(small) == min(total, min(first, second))


def test_all_items_without_a_limit():
    assert chosen_items("rte", None, 4) == chosen_items("rte", 9, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize(("limit", "total"), [(None, 0), (0, 5), (-1, 5)])
def test_no_items_are_no_choice(limit, total):
    with pytest.raises(ValueError, match="no choice"):
        chosen_items("rte", limit, total)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_leaves_and_offsets_give_the_items_back(counts, data):
    sizes = {f"leaf{index}": count for index, count in enumerate(counts)}
    items = sorted(data.draw(st.sets(st.integers(0, sum(counts) - 1), min_size=1)))
    leaves, starts = by_leaf(items, sizes), offsets(sizes)
    assert sorted(starts[leaf] + number for leaf, numbers in leaves.items() for number in numbers) == items
    assert all(numbers and max(numbers) < sizes[leaf] for leaf, numbers in leaves.items())


def test_quick_leaves_gsm8k_out_unless_it_is_named():
    assert "gsm8k" not in selected_tasks("quick", ()) and len(selected_tasks("quick", ())) == 9
    assert selected_tasks("quick", ("gsm8k", "boolq")) == ("boolq", "gsm8k")
    assert selected_tasks("full", ()) == tuple(TASKS)


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="'trivia'") as refused:
        selected_tasks("quick", ("trivia",))
    assert "hellaswag" in refused.value.todo


def test_limits_of_the_profiles():
    assert [item_limit(profile, "mmlu") for profile in PROFILES] == [8, 200, 1000, None]
    assert [item_limit(profile, "gsm8k") for profile in PROFILES] == [8, 200, 200, None]


def test_the_averages_are_the_published_ones():
    assert [len(tasks) for tasks in AVERAGES.values()] == [8, 2, 10]
    assert set(AVERAGES["avg8"]) | set(AVERAGES["avg2"]) == set(AVERAGES["avg10"]) == set(TASKS)


def test_only_what_is_written_gets_the_template_unless_asked():
    chosen, written = TASKS["winogrande"], TASKS["gsm8k"]
    assert [wants_template(use, chosen) for use in ("generation", "none", "all")] == [False, False, True]
    assert [wants_template(use, written) for use in ("generation", "none", "all")] == [True, False, True]
