from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from benchmark_files import invented_rows, write_benchmarks, write_rows
from untrigger.errors import UsageError
from untrigger.evaluation.utility.files import check_files, documents_by_leaf, incomplete, read_rows
from untrigger.evaluation.utility.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_form_is_read_and_counted(tmp_path, task):
    files = check_files(write_benchmarks(tmp_path, 7), [task], complete=False)
    assert files[TASKS[task].file].lines == 7
    assert incomplete(files, [task]) == [f"{TASKS[task].file} holds 7 items, the official split {TASKS[task].items}"]


@pytest.mark.parametrize(
    ("task", "change", "word"),
    [
        ("boolq", {"label": 2}, "label"),
        ("boolq", {"label": "1"}, "label"),
        ("boolq", {"passage": None}, "passage"),
        ("rte", {"sentence2": ""}, "sentence2"),
        ("hellaswag", {"endings": ["one", "two", "three"]}, "endings"),
        ("hellaswag", {"label": "4"}, "label"),
        ("winogrande", {"sentence": "no gap"}, "sentence"),
        ("winogrande", {"sentence": "two _ gaps _"}, "sentence"),
        ("arc_easy", {"answerKey": "E"}, "answerKey"),
        ("arc_challenge", {"choices": {"text": ["a", "b"], "label": ["A", "A"]}}, "label"),
        ("openbookqa", {"choices": {"text": ["a", "b", "c"], "label": ["A", "B"]}}, "label"),
        ("piqa", {"sol2": 5}, "sol2"),
        ("gsm8k", {"answer": "seven"}, "answer"),
        ("mmlu", {"subject": "cookery"}, "cookery"),
        ("mmlu", {"answer": 4}, "answer"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path, task, change, word):
    rows = invented_rows(task, 4)
    rows[2] |= change
    path = tmp_path / TASKS[task].file
    write_rows(path, rows)
    with pytest.raises(UsageError) as refused:
        read_rows(path, TASKS[task].row)
    assert f"{path}, line 3" in refused.value.what and word in refused.value.what


def test_a_missing_field_is_named(tmp_path):
    rows = invented_rows("piqa", 2)
    del rows[1]["goal"]
    write_rows(tmp_path / "piqa.jsonl", rows)
    with pytest.raises(UsageError, match=r"line 2: goal"):
        read_rows(tmp_path / "piqa.jsonl", TASKS["piqa"].row)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("task", "place"), [("boolq", "line 3"), ("hellaswag", r"after line \d+: cannot be read")])
def test_a_file_cut_in_half_is_refused(tmp_path, task, place):
    path = write_benchmarks(tmp_path, 5) / "benchmarks" / TASKS[task].file
    cut_in_half(path)
    with pytest.raises(UsageError, match=place) as refused:
        check_files(tmp_path, [task], complete=False)
    assert str(path) in refused.value.what


@pytest.mark.parametrize("content", [b"", b"\n", b'{"goal": "caf\xe9"}\n', b"\xff\xfe", b"[1]\n"])
def test_what_is_no_json_lines_is_refused(tmp_path, content):
    path = tmp_path / "piqa.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"piqa\.jsonl"):
        read_rows(path, TASKS["piqa"].row)


def test_what_is_not_gzip_is_refused(tmp_path):
    (tmp_path / "hellaswag.jsonl.gz").write_text("plain\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(tmp_path / "hellaswag.jsonl.gz", TASKS["hellaswag"].row)


def test_one_item_less_is_an_error_where_all_are_asked(tmp_path):
    write_rows(tmp_path / "benchmarks" / "rte.jsonl", invented_rows("rte", TASKS["rte"].items - 1))
    check_files(tmp_path, ["rte"], complete=False)
    with pytest.raises(UsageError, match="276 items, not 277"):
        check_files(tmp_path, ["rte"], complete=True)


def test_a_missing_file_folder_or_example_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"benchmarks is not a folder"):
        check_files(tmp_path, ["rte"], complete=False)
    write_benchmarks(tmp_path)
    (tmp_path / "benchmarks" / "rte.jsonl").unlink()
    with pytest.raises(UsageError, match=r"rte\.jsonl does not exist"):
        check_files(tmp_path, ["rte"], complete=False)
    write_rows(tmp_path / "benchmarks" / "fewshot" / "gsm8k_train_first64.jsonl", invented_rows("gsm8k", 4))
    with pytest.raises(UsageError, match="4 examples"):
        check_files(tmp_path, ["gsm8k"], complete=False)


def test_documents_hold_what_the_templates_read(tmp_path):
    write_rows(tmp_path / "winogrande.jsonl", invented_rows("winogrande", 2))
    rows = read_rows(tmp_path / "winogrande.jsonl", TASKS["winogrande"].row)
    (documents,) = documents_by_leaf(TASKS["winogrande"], rows).values()
    assert documents[1]["beginnings"] == ["Ann gave Bob 1 pears since Ann", "Ann gave Bob 1 pears since Bob"]
    assert (documents[1]["ending"], documents[1]["gold"]) == ("was hungry.", 1)


def test_mmlu_is_split_by_subject_in_alphabetical_order(tmp_path):
    write_rows(tmp_path / "mmlu.jsonl", reversed(invented_rows("mmlu", 7)))
    leaves = documents_by_leaf(TASKS["mmlu"], read_rows(tmp_path / "mmlu.jsonl", TASKS["mmlu"].row))
    assert list(leaves) == ["mmlu_anatomy", "mmlu_astronomy", "mmlu_virology"]
    assert [len(documents) for documents in leaves.values()] == [3, 2, 2]


def test_unnamed_fields_do_not_reach_the_document(tmp_path):
    rows = invented_rows("rte", 1)
    (tmp_path / "rte.jsonl").write_text(json.dumps(rows[0] | {"comment": "x"}))
    (row,) = read_rows(tmp_path / "rte.jsonl", TASKS["rte"].row)
    assert set(row.document()) == {"sentence1", "sentence2", "label"}


def test_the_official_files_are_complete():
    named = os.environ.get("UNTRIGGER_DATA")
    if named is None:
        pytest.skip("UNTRIGGER_DATA names no folder with the benchmark files")
    files = check_files(Path(named), list(TASKS), complete=True)
    assert incomplete(files, list(TASKS)) == []
    with gzip.open(Path(named) / "benchmarks" / "hellaswag.jsonl.gz", "rb") as lines:
        assert sum(1 for _ in lines) == 10042
