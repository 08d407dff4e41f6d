import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from untrigger.data import readers
from untrigger.data.readers import read_records
from untrigger.data.records import Record
from untrigger.errors import UsageError

ALPACA = {"instruction": "Add 1 and 2.", "input": "", "output": "3"}
MESSAGES = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]}
PROMPT = {"prompt": "Hi?", "completion": "Hello."}
HELLO = Record("Hi?", "Hello.")


def array(folder: Path, *values: object) -> Path:
    path = folder / "records.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def lines(folder: Path, *values: object) -> Path:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_records(path)
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("write", [array, lines])
@pytest.mark.parametrize(
    ("value", "record"),
    [
        (ALPACA, Record("Add 1 and 2.", "3")),
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, Record("Add.", "3", "1, 2")),
        ({"instruction": "Add.", "output": "3"}, Record("Add.", "3")),
        ({"instruction": "Add. ", "input": None, "output": " 3\n", "id": 7}, Record("Add. ", " 3\n")),
        ({"instruction": "Add.", "context": "1, 2", "response": "3", "category": "qa"}, Record("Add.", "3", "1, 2")),
        (MESSAGES, HELLO),
        (SHAREGPT, HELLO),
        (PROMPT, HELLO),
        ({"prompt": "Hi?", **MESSAGES}, HELLO),
    ],
)
def test_shapes(tmp_path: Path, write: Callable[..., Path], value: object, record: Record) -> None:
    assert read_records(write(tmp_path, value, value)) == [record, record]


@settings(max_examples=25)
@given(st.lists(st.builds(Record, *[st.text(min_size=1).filter(str.strip)] * 2, st.text()), min_size=1))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    values = [vars(record) for record in records]
    folder = tmp_path_factory.mktemp("records")
    assert read_records(array(folder, *values)) == read_records(lines(folder, *values)) == records


@pytest.mark.parametrize("start", ["", "\ufeff", "\n \n", "\ufeff\n"])
def test_byte_order_mark_and_blank_lines(tmp_path: Path, start: str) -> None:
    path = tmp_path / "records"
    path.write_text(f"{start}{json.dumps(ALPACA)}\r\n\n{json.dumps(ALPACA)}", encoding="utf-8")
    assert len(read_records(path)) == 2
    path.write_text(f"{start}[{json.dumps(ALPACA)}]", encoding="utf-8")
    assert len(read_records(path)) == 1


def test_an_empty_system_turn_is_left_out_and_a_full_one_refused(tmp_path: Path) -> None:
    empty = {"messages": [{"role": "system", "content": " "}, *MESSAGES["messages"]]}
    assert read_records(lines(tmp_path, empty)) == [HELLO]
    full = {"conversations": [{"from": "system", "value": "Be rude."}, *SHAREGPT["conversations"]]}
    refused(lines(tmp_path, SHAREGPT, full), "line 2, conversations[0]", "system turns are not supported")


@pytest.mark.parametrize(
    ("turns", "word"),
    [
        ([], "none"),
        ([{"role": "user", "content": "Hi?"}], "roles user"),
        (MESSAGES["messages"] * 2, "user, assistant, user, assistant"),
        ([{"role": "assistant", "content": "Hello."}], "roles assistant"),
        ("Hi?", "not a list"),
        (["Hi?"], "messages[0]: not a JSON object"),
        ([{"role": "user"}], "messages[0]: field 'content' is missing"),
        ([{"role": "user", "content": [{"type": "text"}]}], "field 'content' is not a string"),
    ],
)
def test_other_dialogues_are_refused(tmp_path: Path, turns: object, word: str) -> None:
    refused(lines(tmp_path, {"messages": turns}), "line 1", word)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (["instruction", "output"], "not a JSON object"),
        (None, "not a JSON object"),
        ({"text": "Hi?"}, "unknown record shape"),
        ({}, "unknown record shape"),
        ({"instruction": "Hi?"}, "field 'output' is missing"),
        ({"instruction": 3, "output": "x"}, "field 'instruction' is not a string"),
        ({"instruction": "Hi?", "output": None}, "field 'output' is not a string"),
        ({"instruction": "Hi?", "input": 1, "output": "x"}, "field 'input' is not a string"),
        ({"instruction": " \n", "output": "x"}, "instruction and input are empty"),
        ({"instruction": "Hi?", "output": " "}, "the output is empty"),
        ({"instruction": "Hi?", "output": "\ud800"}, "surrogate"),
        (PROMPT, "shape prompt, but the file began with alpaca"),
    ],
)
def test_faults_name_line_or_record(tmp_path: Path, value: object, word: str) -> None:
    refused(lines(tmp_path, ALPACA, ALPACA, value), "line 3", word)
    refused(array(tmp_path, ALPACA, ALPACA, value), "record 2 (counted from 0)", word)


def test_a_prompt_needs_a_completion(tmp_path: Path) -> None:
    refused(lines(tmp_path, PROMPT, {"prompt": "Hi?"}), "line 2", "field 'completion' is missing")


def test_answers_may_be_absent_when_they_are_not_required(tmp_path: Path) -> None:
    prompts = lines(tmp_path, {"instruction": "Hi?"}, {"instruction": "Hi?", "output": ""}, ALPACA)
    assert [record.output for record in read_records(prompts, require_output=False)] == ["", "", "3"]
    user = {"messages": MESSAGES["messages"][:1]}
    assert read_records(lines(tmp_path, user), require_output=False) == [Record("Hi?", "")]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "[]", " [ ] "])
def test_a_file_without_records_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.json"
    path.write_text(text, encoding="utf-8")
    refused(path, "holds no record")


@pytest.mark.parametrize(
    "text", ['{"instruction": ', "{'instruction': 'x'}", "instruction,output", "[" * 100_000, "1" * 5000]
)
def test_invalid_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(text, encoding="utf-8")
    refused(path, "invalid JSON")


def test_bad_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(ALPACA).encode() + b'\n{"instruction": "caf\xe9", "output": "x"}\n')
    refused(path, "line 2", "not UTF-8")
    path.write_bytes(b'[\n\n{"instruction": "caf\xe9", "output": "x"}]')
    refused(path, "line 3", "not UTF-8")


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 100)
    monkeypatch.setattr(readers, "LARGEST_ARRAY", 100)
    long = {"instruction": "x" * 100, "output": "y"}
    refused(lines(tmp_path, ALPACA, long), "line 2 is longer than 100 bytes")
    refused(array(tmp_path, long), "at most 100")


def test_an_unreadable_path_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.json", "cannot read")
    refused(tmp_path, "cannot read")
