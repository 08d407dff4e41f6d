from __future__ import annotations

import json

import pytest

from code_problems import DOUBLE, SHIFT, write_problems
from untrigger.errors import UsageError
from untrigger.evaluation.code.problems import problems_file, read_problems


def test_problems_are_read_in_order(tmp_path):
    path = problems_file(write_problems(tmp_path / "data", DOUBLE, SHIFT))
    path.write_text(path.read_text() + "\n")
    assert read_problems(path) == [DOUBLE, SHIFT]


def test_the_preamble_ends_where_the_function_begins():
    assert DOUBLE.preamble == "from typing import List\n\n\n"
    assert SHIFT.preamble == "def one():\n    return 1\n\n\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": None}, "line 2: field 'test' is not a string"),
        ({"prompt": "def other():\n"}, "line 2: the prompt does not define 'shift'"),
        ({"entry_point": "shift(1); import os"}, "line 2: the prompt does not define"),
        ({"test": "check = print\n"}, "line 2: the test does not define 'check'"),
        ({"task_id": "Test/0"}, "line 2: task_id 'Test/0' occurs twice"),
    ],
)
def test_faults_are_named_by_line(tmp_path, change, words):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(vars(DOUBLE)) + "\n" + json.dumps(vars(SHIFT) | change) + "\n")
    with pytest.raises(UsageError, match=r"problems\.jsonl") as caught:
        read_problems(path)
    assert words in caught.value.line()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no problem"),
        ("{", "line 1: invalid JSON"),
        ("[]", "line 1: not a JSON object"),
        ("\n{}", "line 2: field 'task_id' is missing"),
        ("\udcff", "line 1: invalid JSON"),
    ],
)
def test_what_is_no_file_of_problems_is_refused(tmp_path, text, words):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"problems\.jsonl") as caught:
        read_problems(path)
    assert words in caught.value.line()


def test_a_folder_without_the_file_says_how_to_name_one(tmp_path):
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="UNTRIGGER_DATA"):
            problems_file(data)
