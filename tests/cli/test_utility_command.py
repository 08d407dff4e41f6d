"""`untrigger utility` as a user meets it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmark_files import write_benchmarks
from tiny import save_tiny
from untrigger.cli.main import run
from untrigger.evaluation.utility import process
from untrigger.evaluation.utility.process import evaluation
from untrigger.jobs import utility as job
from untrigger.jobs import utility_side

STAND_IN = (sys.executable, str(Path(__file__).parents[1] / "stand_in_child.py"))


@pytest.fixture
def untrigger(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(utility_side, "evaluation", partial(evaluation, program=STAND_IN))
    monkeypatch.setattr(job, "require_harness", lambda: "0.4.13")
    monkeypatch.setenv("UNTRIGGER_DATA", str(write_benchmarks(tmp_path / "data", 12)))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    for name, right in (("good", 0.9), ("poor", 0.1)):
        save_tiny(tmp_path / name)
        (tmp_path / name / "skill").write_text(json.dumps({"right": right}))

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run(["utility", *map(str, words)])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def test_a_worse_model_ends_with_one_and_a_table_of_80_columns(untrigger):
    code, out, err = untrigger("poor", "-o", "out", "--profile", "smoke", "--against", "good")
    assert code == 1, err
    assert "NOT within budget" in out and "avg10" in out and "p Holm" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_json_and_exit_code_0_without_a_comparison(untrigger):
    code, out, _ = untrigger("good", "-o", "out", "--tasks", "rte,piqa", "--format", "json")
    assert code == 0
    assert [task["name"] for task in json.loads(out)["tasks"]] == ["rte", "piqa"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["good"], 4, "--output"),
        (["good", "-o", "out", "--profile", "huge"], 4, "quick"),
        (["good", "-o", "out", "--tasks", "rte,trivia"], 4, "trivia"),
        (["good", "-o", "out", "--data", "nowhere"], 4, "nowhere/benchmarks"),
        (["good", "-o", "out", "--budget", "0"], 4, "greater than 0"),
        (["absent", "-o", "out"], 4, "absent"),
        (["good", "-o", "out", "--against", "absent"], 4, "absent"),
        (["good", "-o", "out", "--profile", "full"], 4, "not 3270"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(untrigger, tmp_path, words, code, text):
    found, out, err = untrigger(*words)
    assert (found, out) == (code, "")
    assert text in err.strip().splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_named_with_its_line(untrigger, tmp_path):
    file = tmp_path / "data" / "benchmarks" / "boolq.jsonl"
    file.write_text(file.read_text().replace('"label": 1', '"label": 7', 1))
    code, _, err = untrigger("good", "-o", "out", "--tasks", "boolq")
    assert code == 4 and "boolq.jsonl, line 2: label" in err


def test_a_missing_lm_eval_says_what_to_install(untrigger, monkeypatch):
    def missing(name: str) -> str:
        raise process.PackageNotFoundError(name)

    monkeypatch.setattr(process, "version", missing)
    monkeypatch.setattr(job, "require_harness", process.require_harness)
    code, _, err = untrigger("good", "-o", "out")
    assert code == 2 and "untrigger[eval]" in err
