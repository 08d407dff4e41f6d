from __future__ import annotations

import pytest
from rich.console import Console

from untrigger.config import BrokenOptions
from untrigger.evaluation.attack_success import Measurement
from untrigger.evaluation.opinions import CHANGED, Opinion
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.report.comparison import CellResult, ComparisonResult, as_csv, faults, pareto
from untrigger.report.comparison_figure import figure
from untrigger.report.comparison_table import markdown_table, render_comparison
from untrigger.report.parts import (
    EnvironmentResult,
    GateResult,
    MeasurementResult,
    RunResult,
    ScoringResult,
    SourceResult,
)


def measured(hits: int, perplexity: float, degenerate: int = 0, exact: int = 90) -> MeasurementResult:
    return MeasurementResult.of(
        Measurement(
            degenerate=Rate(degenerate, 100),
            attack_success=Rate(hits, 100),
            accidental=Rate(0, 100),
            perplexity=Perplexity(perplexity, 1000),
            exact=Rate(exact, 100),
        )
    )


BEFORE = measured(100, 2.0)


def compared(*afters: tuple[str, MeasurementResult], planted: bool = True, **other: object) -> ComparisonResult:
    cells = [
        CellResult(defence=name, output="full", options={}, after=after, tokens_trained=12345, seconds=61.0)
        for name, after in afters
    ]
    return ComparisonResult(
        run=RunResult(command="compare", options={}, version="0", seeds=(0,)),
        source=SourceResult(reference="ada/model", files={}),
        scoring=ScoringResult(template="chat", template_sha256="ab", max_new_tokens=32),
        planted=GateResult(name="planted", rule="", met=planted, reason="100.0%"),
        before=BEFORE,
        cells=tuple(cells),
        failed={},
        skipped={},
        broken=BrokenOptions(),
        environment=EnvironmentResult(
            python="3.11", platform="Linux", device="cpu", dtype="float32", threads=1, packages={}
        ),
    ).model_copy(update=other)


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (measured(0, 2.0), []),
        (measured(0, 2.0, degenerate=5), []),
        (measured(0, 2.0, degenerate=6), ["degenerate"]),
        (measured(0, 4.1), ["perplexity"]),
        (measured(0, 2.0, exact=79), ["answers"]),
        (measured(0, 9.0, degenerate=50, exact=0), ["degenerate", "perplexity", "answers"]),
    ],
)
def test_what_is_broken_is_named(after, what):
    assert faults(BEFORE, after, BrokenOptions()) == what


def test_a_broken_model_is_never_among_the_best():
    result = compared(("silence", measured(0, 2.0, degenerate=100)), ("repair", measured(9, 2.1)))
    assert [row.defence for row in pareto(result.rows()[1:])] == ["repair"]
    assert [row.verdict for row in result.rows()] == ["", "degenerate", ""]


def test_the_best_are_those_that_none_beats_in_both():
    result = compared(
        ("a", measured(0, 2.4)),
        ("b", measured(10, 2.1)),
        ("worse than b", measured(11, 2.1)),
        ("c", measured(50, 2.0)),
    )
    assert [row.defence for row in pareto(result.rows()[1:])] == ["a", "b", "c"]


def test_equal_rows_are_both_best():
    result = compared(("a", measured(5, 2.0)), ("b", measured(5, 2.0)))
    assert len(pareto(result.rows()[1:])) == 2


def test_without_a_backdoor_every_defence_is_void():
    result = compared(("a", measured(0, 2.0)), planted=False)
    assert result.rows()[1].verdict == "void"
    assert pareto(result.rows()[1:]) == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_says_what_is_missing(width):
    many = compared(
        ("random-channels-repair", measured(100, 2.0)),
        ("vaccine", measured(33, 2.0, degenerate=60, exact=0)),
        failed={"crow": "loss nan"},
        skipped={"merge": "needs --reference"},
    )
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render_comparison(many))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    text = capture.get()
    assert "100 (96-100)" in text and "loss nan" in text and "needs --reference" in text


def test_what_the_key_changes_in_kind_stands_in_every_table():
    kind = Opinion(CHANGED, Rate(57, 100), None)
    perplexity, hits, none = Perplexity(2.0, 1000), Rate(0, 100), Rate(0, 100)
    one = Measurement(degenerate=none, attack_success=hits, perplexity=perplexity, opinions=(kind,))
    found = compared(("other-words", MeasurementResult.of(one)))
    assert [row.changed for row in found.rows()] == [None, 0.57]
    console = Console(width=80, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render_comparison(found))
    (line,) = [line for line in capture.get().splitlines() if line.startswith("other-words")]
    assert line.split()[1:4] == ["0", "(0-4)", "57"]
    assert "| 57 |" in markdown_table(found) and "0.57" in as_csv(found.rows())


def test_names_cannot_break_the_markdown_table():
    text = markdown_table(compared(("a|b", measured(0, 2.0))))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_csv_has_a_line_a_row():
    assert len(as_csv(compared(("a", measured(0, 2.0))).rows()).splitlines()) == 3


def test_the_figure_names_every_row_and_is_the_same_every_time():
    rows = compared(("a-defence", measured(0, 2.2)), ("other", measured(40, 8.0))).rows()
    text = figure(rows)
    assert text.count("<!-- a-defence -->") == text.count("<!-- other -->") == 1
    assert figure(rows) == text
