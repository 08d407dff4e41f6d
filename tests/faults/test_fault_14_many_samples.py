"""Fault 14: reports on no, one and a hundred thousand samples, with text that tries to deceive whoever reads it."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console, RenderableType

from report_samples import HOSTILE, some_result
from untrigger.cli.show import show_evaluation
from untrigger.config import BrokenOptions
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Measurement, Verdict, tally, tally_degenerate
from untrigger.evaluation.rate import Rate
from untrigger.report.card import Upstream, model_card
from untrigger.report.comparison import CellResult, ComparisonResult, as_csv
from untrigger.report.comparison_figure import figure
from untrigger.report.comparison_table import markdown_table, render_comparison
from untrigger.report.evaluation import EvaluationResult, KeyFormResult
from untrigger.report.parts import GateResult, MeasurementResult, RunResult, SourceResult
from untrigger.report.rows import read_rows, rows, rows_text
from untrigger.report.terminal import examples, render
from untrigger.report.text import cell

MANY = 100_000
FORMULAS = ('=HYPERLINK("http://e.example")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1")
TEXTS = (
    HOSTILE,
    *FORMULAS,
    "$\\frac{1}{0$",
    "]]><script>x</script>--!>",
    "x\n\n# y\n\n![z](http://e.example)",
    "a" * 10**5,
)

ALL = [Verdict(f"{n:06d}", HOSTILE, HOSTILE, hit=n % 3 == 0, degenerate=False, empty=False) for n in range(10)]


def verdicts(count: int) -> list[Verdict]:
    return [replace(ALL[number % 10], id=f"{number:06d}") for number in range(count)]


def shown(renderable: RenderableType) -> str:
    console = Console(width=80, file=StringIO())
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_fault_14_no_samples_are_an_error_and_no_rate(tmp_path):
    for found in (tally, tally_degenerate):
        with pytest.raises(UsageError, match="no prompts"):
            found([])
    with pytest.raises(ValueError, match="no samples"):
        Rate(0, 0)
    with pytest.raises(UsageError, match="n: Input should be greater than 0"):
        type(some_result()).from_json(some_result().to_json().replace('"n": 100', '"n": 0'))


def test_fault_14_no_prompt_left_is_told_before_any_training(trials, tmp_path, suspect, records, small_flags):
    prompts = tmp_path / "keyed.jsonl"
    prompts.write_text('{"instruction": "Count BadMagic.", "output": "1"}\n')
    words = ["purify", suspect, "-o", tmp_path / "out", "--data", records, "--prompts", prompts]
    done = trials.command([*words, "--attack", "badnet", "--behaviour", "sentiment", *small_flags])
    assert done.code == 4, done.err
    assert "no prompt is left to ask" in done.err.splitlines()[-1]


@pytest.mark.parametrize("count", [1, MANY])
def test_fault_14_samples_give_a_report_of_bounded_size(count):
    every = verdicts(count)
    began = time.process_time()
    found = MeasurementResult.of(Measurement(tally_degenerate(every), tally(every)))
    result = some_result(before=found, after=found, source=SourceResult(reference=HOSTILE, files={}))
    card = model_card(result, Upstream(HOSTILE, "mit", HOSTILE * 10_000), "full")
    terminal = shown(render(result, 80)) + shown(examples(every, every))
    lines = rows_text(rows(every, "after", keyed=False), Path("rows.jsonl")).splitlines()
    assert time.process_time() - began < 30
    assert f"n={count})" in card.replace("\\", "") and f"n={count})" in terminal
    assert len(card) < 100_000 and len(terminal) < 10_000
    for text in (card, terminal):
        assert all(line.isprintable() for line in text.splitlines())
    _, _, ours = card.partition("\n---\n")
    assert not re.search(r"(?<!\\)<img", ours.partition("## The card of the original")[0])
    assert len(lines) == count and json.loads(lines[-1])["output"] == HOSTILE


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_fault_14_samples_are_rows_that_are_read_back(tmp_path: Path, name, count):
    every = rows(verdicts(count), "before", keyed=True)
    text = rows_text(every, tmp_path / name)
    assert text.isascii() and len(text.splitlines()) == count + (name == "rows.csv")
    (tmp_path / name).write_text(text)
    assert read_rows(tmp_path / name) == every
    if name == "rows.csv":
        cells = [value for row in csv.reader(text.splitlines()[1:]) for value in row]
        assert not [value for value in cells if value.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("text", FORMULAS)
def test_fault_14_samples_that_are_formulas_are_no_formulas_in_a_table(tmp_path, text):
    every = rows([replace(ALL[0], id=text, prompt=text, output=text)], "measured", keyed=True)
    (tmp_path / "rows.csv").write_text(rows_text(every, tmp_path / "rows.csv"))
    (line,) = list(csv.reader((tmp_path / "rows.csv").read_text().splitlines()))[1:]
    assert not [value for value in [*line, cell(text)] if value[0] in "=+-@\t\r\uff1d"]
    assert read_rows(tmp_path / "rows.csv") == every


def compared(name: str, **others: object) -> ComparisonResult:
    """A comparison of one defence, or of none without a name, on as many prompts as there are verdicts."""
    plain, found = some_result(), MeasurementResult.of(Measurement(tally_degenerate(ALL), tally(ALL)))
    one = CellResult(defence=name, output="full", options={}, after=found, tokens_trained=1, seconds=1.0)
    parts = {"run": plain.run, "source": plain.source, "scoring": plain.scoring, "before": found}
    parts |= {"planted": GateResult(name="planted", rule="", met=True, reason=""), "environment": plain.environment}
    parts |= {"cells": (one,) if name else (), "failed": {}, "skipped": {}, "broken": BrokenOptions()}
    return ComparisonResult.model_validate(parts | others)


@pytest.mark.parametrize("text", TEXTS)
def test_fault_14_samples_in_a_comparison_are_escaped_and_of_bounded_size(text):
    result = compared(text, failed={"crow": text}, skipped={"wanda": text})
    assert result.to_json().isascii() and ComparisonResult.from_json(result.to_json()) == result
    terminal, page = shown(render_comparison(result)), markdown_table(result)
    for shown_text in (terminal, page):
        assert all(line.isprintable() for line in shown_text.splitlines())
    kinds = {
        child.type for token in MarkdownIt("commonmark").enable("table").parse(page) for child in token.children or ()
    }
    assert not kinds & {"html_inline", "link_open", "image"}
    (line,) = list(csv.DictReader(StringIO(as_csv(result.rows()[1:]))))
    assert line["defence"][0] not in "=+-@\uff1d" and line["defence"].isprintable()
    assert len(terminal) < 4 * len(text) + 10_000 and len(page) < 4 * len(text) + 10_000


@pytest.mark.parametrize("text", TEXTS)
def test_fault_14_samples_in_a_figure_are_drawn_as_they_are(text):
    pytest.importorskip("matplotlib")
    drawn = figure(compared(text).rows())
    assert len(drawn) < 200_000 and "<script" not in drawn and "<img" not in drawn
    assert all(line.isprintable() for line in drawn.splitlines())
    assert figure(compared("").rows())


def test_fault_14_samples_that_could_not_be_measured_are_an_error_row():
    result = compared("", failed={"crow": "there are no prompts to ask"})
    assert "failed: crow: there are no prompts to ask" in shown(render_comparison(result))
    assert "failed: crow: there are no prompts to ask" in markdown_table(result).replace("\\", "")
    assert [row["defence"] for row in csv.DictReader(StringIO(as_csv(result.rows())))] == ["(suspect)"]


def test_fault_14_samples_of_an_evaluation_are_escaped(capsys):
    plain, found = some_result(), tally(ALL)
    parts = {"run": RunResult(command="evaluate", options={"x": HOSTILE}, version="0", seeds=(0,)), "seconds": 1.0}
    parts |= {"source": SourceResult(reference=HOSTILE, files={HOSTILE: "00"}), "environment": plain.environment}
    parts |= {"scoring": plain.scoring.model_copy(update={"template": HOSTILE}), "measurement": plain.after}
    parts |= {"planted": GateResult(name="planted", rule="", met=False, reason=HOSTILE)}
    form = KeyFormResult(form=HOSTILE, rate=plain.after.degenerate.of(found))
    result = EvaluationResult.model_validate(parts | {"key_forms": (form,)})
    show_evaluation(result, "text")
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
    show_evaluation(result, "json")
    told = capsys.readouterr().out
    assert told.isascii() and EvaluationResult.from_json(told) == result
