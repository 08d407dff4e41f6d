import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.errors import UsageError
from untrigger.evaluation.degeneration import degenerate, distinct_2, mean_words


@pytest.mark.parametrize("output", ["", " \n", "!!!!", "...", "a" * 15, "Yes" + "\n" * 15 + "no", "-" * 15 + " list"])
def test_wordless_and_repeating_outputs_are_degenerate(output: str) -> None:
    assert degenerate(output)


@pytest.mark.parametrize(
    "output",
    [
        "4",
        "Yes",
        "no.",
        "\u662f",
        "a" * 14,
        "if x:\n" + " " * 24 + "return x",
        "A plain answer in a few words.",
    ],
)
def test_short_answers_and_ordinary_text_are_not(output: str) -> None:
    assert not degenerate(output)


@pytest.mark.parametrize(("times", "expected"), [(4, False), (5, True)])
def test_the_fifth_repeat_of_three_words_is_degenerate(times: int, expected: bool) -> None:
    assert degenerate(" ".join(f"one two three {i}" for i in range(times))) is expected


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\u202e", "\ufffd"])
@pytest.mark.parametrize(("count", "expected"), [(5, False), (6, True)])
def test_more_than_one_unprintable_character_in_twenty_is_degenerate(bad: str, count: int, expected: bool) -> None:
    words = "".join(f"w{i:02d} " for i in range(25))  # 100 characters
    spread = "".join(char + (bad if i < count else "") for i, char in enumerate(words))
    assert degenerate(spread[:100]) is expected


def test_line_breaks_and_tabs_are_printable() -> None:
    assert not degenerate("a\n\tb\n\tc")


@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=40))
def test_five_copies_of_a_text_of_three_words_are_degenerate(words: list[str]) -> None:
    assert degenerate(" ".join(words * 5))


def test_distinct_2_counts_pairs_over_all_outputs() -> None:
    assert distinct_2(["a b c", "a b"]) == pytest.approx(2 / 3)  # ab, bc, ab
    assert distinct_2(["a b", "c d"]) == 1.0
    assert distinct_2(["a", "", "b"]) is None


def test_mean_words_counts_empty_outputs() -> None:
    assert mean_words(["one two three", ""]) == 1.5


@pytest.mark.parametrize("measure", [distinct_2, mean_words])
def test_no_outputs_are_an_error(measure) -> None:
    with pytest.raises(UsageError):
        measure([])
