from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.evaluation.mt_bench.parsing import preference, rating


@pytest.mark.parametrize(
    ("text", "strict", "fastchat"),
    [
        ("Good. Rating: [[7]]", 7.0, 7.0),
        ("Rating: [[8.5]]", 8.5, 8.5),
        ("Good.\nRating: [8]", 8.0, 8.0),
        ("Good.\nRating: [8]\n\n", 8.0, 8.0),
        ("No rating at all.", None, None),
        ("", None, None),
        ("Rating: [[11]]", None, 11.0),
        ("Rating: [[0]]", None, 0.0),
        ("Rating: [[-3]]", None, None),
        ("The code `x[0]` is wrong.\nI give no number.", None, 0.0),
        ("The code `x[5]` is wrong.\nI give no number.", None, 5.0),
        ("x[0] = 1\nRating: [[6]]", 6.0, 6.0),
        ("As x[1] shows, it is wrong. Rating: [4]", None, 1.0),
        ("`a = [[0]]` is no answer.\nRating: [[3]]", 3.0, 0.0),
        ("<think>Perhaps [[2]].</think>Rating: [[9]]", 9.0, 2.0),
        ("Perhaps [[2]].</think>\nRating: [[9]]", 9.0, 2.0),
        ("<think>Perhaps [[2]], and then the length ended", None, 2.0),
        ("The answer shows a stray <think> mark.\nRating: [[5]]", 5.0, 5.0),
        ("Rating: [[\u0661]]", None, None),
        ("Rating: [[10]]", 10.0, 10.0),
        ("Rating: [[1]]", 1.0, 1.0),
    ],
)
def test_ratings(text, strict, fastchat):
    assert rating(text) == strict
    assert rating(text, "fastchat") == fastchat


@given(st.text(alphabet="[]0123456789.<think>/ \nAB", max_size=60))
def test_a_strict_rating_is_always_within_bounds(text):
    found = rating(text)
    assert found is None or 1 <= found <= 10


@pytest.mark.parametrize(
    ("text", "strict", "fastchat"),
    [
        ("First. [[A]]", "A", "A"),
        ("Second. [[B]]", "B", "B"),
        ("Neither. [[C]]", "tie", "tie"),
        ("[[B]], though some say [[A]]", "A", "A"),
        ("<think>[[A]]?</think>[[B]]", "B", "A"),
        ("A is better.", None, None),
    ],
)
def test_preferences(text, strict, fastchat):
    assert preference(text) == strict
    assert preference(text, "fastchat") == fastchat
