"""Fault 14: reports on no, one and a hundred thousand samples, with text that tries to deceive whoever reads it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from report_samples import HOSTILE, some_result
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Measurement, Verdict, tally, tally_degenerate
from untrigger.evaluation.rate import Rate
from untrigger.report.card import Upstream, model_card
from untrigger.report.parts import MeasurementResult, SourceResult
from untrigger.report.rows import read_rows, rows, rows_text
from untrigger.report.terminal import examples, render

MANY = 100_000


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
