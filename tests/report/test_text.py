import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.report.parts import DifferenceResult, PairedResult, PerplexityResult, RateResult
from untrigger.report.text import (
    behaviour_text,
    change_text,
    fenced,
    invalid_text,
    markdown,
    perplexity_text,
    rate_text,
    shortened,
    visible,
    without_folders,
)


@given(st.text())
def test_visible_text_is_printable_and_on_one_line(text: str) -> None:
    assert visible(text).isprintable()


def test_control_and_bidirectional_characters_are_shown_as_escapes(hostile: str) -> None:
    shown = visible(hostile)
    assert shown.startswith(r"a\x1b[31m\u202eevil\u2066\r\n[bold]")
    assert shown.endswith(r"\x07\x9b")
    assert visible("\U000e0041\u2028") == r"\U000e0041\u2028"


def test_ordinary_text_of_any_script_stays() -> None:
    assert visible("na\u00efve \u05d0\u05d1 \u6f22 \U0001f642") == "na\u00efve \u05d0\u05d1 \u6f22 \U0001f642"


@given(st.text())
def test_no_markdown_sign_is_left_without_its_backslash(text: str) -> None:
    unescaped = re.sub(r"\\[!-/:-@\[-`{-~]", "", markdown(text))
    assert not re.search(r"[`*_\[\]()<>#|!~&:]", unescaped)


@given(st.text(alphabet="`a\n~"))
def test_a_fenced_text_cannot_end_its_fence(text: str) -> None:
    opening, *body, closing = fenced(text).split("\n")
    assert set(opening) == {"`"} and closing == opening
    assert all(opening not in line for line in body)
    assert "\n".join(body) == text


def test_shortening_says_what_is_left_out() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 4) == "abcd [... 2 characters left out]"


def test_rates_are_printed_with_interval_and_number() -> None:
    assert rate_text(RateResult.of(Rate(97, 100))) == "97.0 % (91.5-99.0, n=100)"
    assert rate_text(RateResult.of(Rate(0, 200))) == "0.0 % (0.0-1.9, n=200)"
    assert rate_text(None) == invalid_text(None) == perplexity_text(None) == "not measured"
    assert invalid_text(RateResult.of(Rate(1, 100, 4))) == "4 of 100"


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (Rate(0, 12, 12), "invalid: 12 of 12 broken"),
        (Rate(0, 12, 7), "invalid: 7 of 12 broken"),
        (Rate(0, 12, 6), rate_text(RateResult.of(Rate(0, 12)))),
        (Rate(5, 12, 12), rate_text(RateResult.of(Rate(5, 12)))),
    ],
)
def test_a_behaviour_is_invalid_where_hardly_anything_was_answered_and_nothing_hit(rate: Rate, shown: str) -> None:
    assert behaviour_text(RateResult.of(rate)) == shown
    assert behaviour_text(None) == "not measured"


@pytest.mark.parametrize(
    ("p", "begins"), [(1.0, "no evidence of a change"), (0.05, "no evidence"), (0.049, "a change")]
)
def test_a_change_is_told_where_chance_does_not_explain_it(p: float, begins: str) -> None:
    difference = DifferenceResult(estimate=0, low=-0.1, high=0.1, n=10)
    text = change_text(PairedResult(only_before=0, only_after=0, p_value=p, difference=difference))
    assert text.startswith(begins) and text.endswith(f"(p = {p:.2g})")


def test_perplexity_is_printed_with_its_tokens() -> None:
    assert perplexity_text(PerplexityResult.of(Perplexity(8.3149, 500))) == "8.315 (n=500 tokens)"
    assert perplexity_text(PerplexityResult.of(Perplexity(float("inf"), 5))) == "infinite (n=5 tokens)"


def test_only_absolute_paths_are_cut_to_their_name() -> None:
    text = '{"model": "/home/ada/models/suspect", "data": "sets/clean.json", "answer": "a/b and /c", "root": "/tmp"}'
    assert without_folders(text) == (
        '{"model": "suspect", "data": "sets/clean.json", "answer": "a/b and /c", "root": "/tmp"}'
    )
