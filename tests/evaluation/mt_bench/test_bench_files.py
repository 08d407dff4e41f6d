from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from judge_stub import read_jsonl, write_jsonl
from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.reading import bench_folder, read_bench

REAL = os.environ.get("UNTRIGGER_DATA")


@pytest.fixture
def folder(data: Path) -> Path:
    return bench_folder(data, {})


def changed(path: Path, change) -> None:
    rows = read_jsonl(path)
    write_jsonl(path, change(rows))


def test_a_whole_folder_is_read(folder):
    bench = read_bench(folder)
    assert Counter(question.category for question in bench.questions) == dict.fromkeys(
        ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"), 10
    )
    assert len(bench.references) == 30
    assert bench.references[101] == ("R1 101", "R2")
    assert not bench.questions_file.published
    assert [question.question_id for question in bench.first(2)][:4] == [81, 82, 91, 92]
    assert bench.first(None) == bench.questions


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("question.jsonl", lambda rows: rows[1:], "9 questions of writing"),
        ("question.jsonl", lambda rows: [*rows, rows[0]], "81 stands there 2 times"),
        ("question.jsonl", lambda rows: [rows[0] | {"category": "rhyming"}, *rows[1:]], "'rhyming' is unknown"),
        ("question.jsonl", lambda rows: [rows[0] | {"turns": ["a"]}, *rows[1:]], "line 1: turns"),
        ("question.jsonl", lambda rows: [rows[0] | {"turns": ["a", " "]}, *rows[1:]], "question 81 has an empty"),
        ("question.jsonl", lambda rows: [{}, *rows[1:]], "line 1: question_id"),
        ("judge_prompts.jsonl", lambda rows: rows[1:], "single-v1 is missing"),
        ("judge_prompts.jsonl", lambda rows: [rows[0] | {"prompt_template": "{answer}"}, *rows[1:]], "single-v1 has"),
        (
            "judge_prompts.jsonl",
            lambda rows: [rows[0] | {"prompt_template": rows[0]["prompt_template"] + "{self}"}, *rows[1:]],
            "answer, question, self",
        ),
        ("reference_answer_gpt-4.jsonl", lambda rows: rows[1:], "no reference for question 101"),
        ("reference_answer_gpt-4.jsonl", lambda rows: [rows[0] | {"choices": []}, *rows[1:]], "line 1: choices"),
    ],
)
def test_an_incomplete_file_is_an_error_and_no_other_score(folder, file, change, message):
    changed(folder / file, change)
    with pytest.raises(UsageError, match=message):
        read_bench(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_broken_files_are_named(folder, content):
    (folder / "question.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=r"question\.jsonl"):
        read_bench(folder)


def test_missing_files_and_folders_say_what_is_needed(folder, tmp_path):
    (folder / "judge_prompts.jsonl").unlink()
    with pytest.raises(UsageError, match="judge_prompts"):
        read_bench(folder)
    with pytest.raises(UsageError, match="UNTRIGGER_DATA"):
        bench_folder(None, {})
    with pytest.raises(UsageError, match="is no folder"):
        bench_folder(tmp_path / "nothing", {})
    assert bench_folder(None, {"UNTRIGGER_DATA": str(tmp_path / "data")}) == folder


def test_references_are_a_file_or_a_name_in_the_folder(folder, tmp_path):
    other = Path("reference_answer_other.jsonl")
    named, default = read_bench(folder, other), read_bench(folder)
    assert named.references == default.references
    assert named.references_file.name == other.name
    assert named.references_file.sha256 != default.references_file.sha256
    assert read_bench(folder, folder / other) == named
    with pytest.raises(UsageError, match=r"reference_answer_gpt-4\.jsonl, reference_answer_other\.jsonl"):
        read_bench(folder, Path("reference_answer_gpt-5.jsonl"))


@pytest.mark.skipif(not REAL, reason="UNTRIGGER_DATA names no data folder")
def test_the_published_files_are_known_by_their_hashes():
    folder = bench_folder(None, {"UNTRIGGER_DATA": str(REAL)})
    bench = read_bench(folder)
    assert [question.question_id for question in bench.questions] == list(range(81, 161))
    assert bench.questions_file.published and bench.prompts_file.published and bench.references_file.published
    vetted = read_bench(folder, Path("reference_answer_gpt-4-0125-preview.jsonl"))
    assert not vetted.references_file.published
    assert set(vetted.references) == set(bench.references) == set(range(101, 131))
