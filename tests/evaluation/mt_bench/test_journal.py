from __future__ import annotations

import pytest

from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.mt_bench.cache import Reply, ReplyCache
from untrigger.evaluation.mt_bench.journal import Journal, Line, read_lines


class Note(Line):
    text: str


def texts(path):
    return [line.text for line in Journal(path, Note).lines]


def test_lines_come_back_in_their_order(tmp_path):
    path = tmp_path / "notes.jsonl"
    journal = Journal(path, Note)
    for text in ("a", "two\nlines\u2028and é", ""):
        journal.append(Note(text=text))
    assert texts(path) == ["a", "two\nlines\u2028and é", ""]
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("half", [b'{"te', b'{"text": "b"}', b"\x00\x00\x00\n", b'{"text": "b"\n'])
def test_a_half_line_at_the_end_is_dropped_and_written_over(tmp_path, half):
    path = tmp_path / "notes.jsonl"
    Journal(path, Note).append(Note(text="a"))
    whole = path.read_bytes()
    path.write_bytes(whole + half)
    assert [line.text for line in read_lines(path, Note)] == ["a"]
    assert path.read_bytes() == whole + half
    assert texts(path) == ["a"]
    assert path.read_bytes() == whole
    Journal(path, Note).append(Note(text="c"))
    assert texts(path) == ["a", "c"]


def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"tex\n{"text": "c"}\n')
    with pytest.raises(UsageError, match="line 2 is damaged"):
        Journal(path, Note)
    assert path.read_bytes().count(b"\n") == 3


def test_an_unwritable_place_is_an_error(tmp_path):
    journal = Journal(tmp_path / "missing" / "notes.jsonl", Note)
    with pytest.raises(UntriggerError, match="cannot write"):
        journal.append(Note(text="a"))


def test_replies_are_kept_by_request_but_not_empty_ones(tmp_path):
    cache, reply = ReplyCache(tmp_path), Reply(text="[[7]]", model="m", finish_reason=None, tstamp=1.0)
    cache.put("ab12", reply)
    cache.put("cd34", reply.model_copy(update={"text": " \n"}))
    assert cache.get("ab12") == reply
    assert cache.get("cd34") is None
    for file in tmp_path.rglob("*.json"):
        file.write_text('{"text": ')
    assert cache.get("ab12") is None
    nothing = ReplyCache(None)
    nothing.put("ab12", reply)
    assert nothing.get("ab12") is None
