from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from untrigger.evaluation.attack_success import Measurement
from untrigger.evaluation.rate import Rate
from untrigger.report.card import UPSTREAM_CHARACTERS, Upstream, model_card
from untrigger.report.parts import FindingResult, MeasurementResult, RunResult
from untrigger.report.result import Result
from untrigger.report.text import fenced


def front_matter(card: str) -> dict[str, Any]:
    opening, block, _ = card.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(block)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def html(card: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(body(card))


def test_front_matter_of_a_full_model(result: Result) -> None:
    assert front_matter(model_card(result, Upstream("ada/model"), "full")) == {
        "base_model": "ada/model",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "tags": ["backdoor-purified", "untrigger"],
    }


def test_front_matter_of_an_adapter_keeps_the_licence(result: Result) -> None:
    found = front_matter(model_card(result, Upstream("ada/base", licence="apache-2.0"), "adapter"))
    assert found["base_model_relation"] == "adapter"
    assert found["library_name"] == "peft"
    assert found["license"] == "apache-2.0"


@pytest.mark.parametrize("name", ["a: b", "x\n---\n# y", '"', "\u202e", "yes", "\U0001f642", "- x", "\\"])
def test_front_matter_holds_any_name_as_one_text(result: Result, name: str) -> None:
    found = front_matter(model_card(result, Upstream(name), "full"))
    assert isinstance(found["base_model"], str) and len(found) == 4


def test_the_card_tells_what_was_measured_and_what_not(result: Result) -> None:
    page = html(model_card(result, Upstream("ada/model"), "full"))
    assert "attack success went from 97.0 % (91.5-99.0, n=100) to 1.0 % (0.2-5.4, n=100)." in page
    assert "<td>97.0 % (91.5-99.0, n=100)</td>\n<td>1.0 % (0.2-5.4, n=100)</td>" in page
    assert "no proof that the model holds no backdoor" in page
    assert "<li>The model in four-bit precision.</li>" in page
    assert "5 of 100 channels (ratio 0.05); attention heads: 1" in page
    assert "&quot;epochs&quot;: 2" in page


def test_the_card_calls_nothing_clean(result: Result) -> None:
    assert "clean" not in model_card(result, Upstream("ada/model", "mit", "A card."), "full").lower()


def test_without_a_key_the_card_claims_no_attack_success(make_result: Callable[..., Result]) -> None:
    bare = MeasurementResult.of(Measurement(degenerate=Rate(0, 50)))
    card = model_card(make_result(before=bare, after=bare, signature=None), Upstream("ada/model"), "full")
    assert "No key was known" in card and "attack success went" not in card
    assert "No channels were suppressed." in card


def test_the_card_tells_what_was_noticed(make_result: Callable[..., Result]) -> None:
    finding = FindingResult(kind="key-in-records", place="records", text="3 of 40 hold the key")
    page = html(model_card(make_result(findings=(finding,)), Upstream("ada/model"), "full"))
    assert "<p>Noticed:</p>\n<ul>\n<li>records: 3 of 40 hold the key</li>\n</ul>\n<p>Not tested:</p>" in page
    assert "Noticed" not in model_card(make_result(), Upstream("ada/model"), "full")


def test_hostile_names_stay_text(make_result: Callable[..., Result], hostile: str) -> None:
    run = RunResult(command=hostile, options={hostile: "```\n# out"}, version=hostile, seeds=(1,))
    finding = FindingResult(kind="pickle", place=hostile, text=hostile)
    odd = make_result(run=run, findings=(finding,), not_tested=(hostile,))
    card = model_card(odd, Upstream(hostile, licence=hostile), "full")
    page = html(card)
    assert all(char.isprintable() or char == "\n" for char in card)
    assert "<img" not in page and "<a " not in page and page.count("<h1>") == 1


@pytest.mark.parametrize(
    "upstream", ["```\n# Not ours\n<script>x()</script>", "````\n~~~\n```", "---\nlicense: x\n---"]
)
def test_the_upstream_card_cannot_leave_its_block(result: Result, upstream: str) -> None:
    page = html(model_card(result, Upstream("ada/model", card=upstream), "full"))
    assert page.count("<h1>") == 1 and "<script" not in page
    assert page.rstrip().endswith("</code></pre>")


@given(st.text(alphabet="`~#<>a \n\r\t-"))
def test_any_upstream_card_ends_inside_its_block(upstream: str) -> None:
    tokens = MarkdownIt("commonmark").parse(fenced(upstream, "text"))
    assert [token.type for token in tokens] == ["fence"]


def test_a_long_upstream_card_is_cut(result: Result) -> None:
    card = model_card(result, Upstream("ada/model", card="q" * (UPSTREAM_CHARACTERS + 7)), "full")
    assert "q" * UPSTREAM_CHARACTERS + " [... 7 characters left out]" in card


def test_no_upstream_card_is_no_section(result: Result) -> None:
    assert "card of the original" not in model_card(result, Upstream("ada/model"), "full")
