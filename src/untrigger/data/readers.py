"""Records from files: a JSON array or JSON lines, in the five usual shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from untrigger.data.records import Record
from untrigger.errors import UsageError

LONGEST_LINE = 10_000_000
"""Bytes in a line of JSON lines."""
LARGEST_ARRAY = 1_000_000_000
"""Bytes in a JSON array, which is read as a whole."""

Shape = Literal["dolly", "alpaca", "messages", "conversations", "prompt"]
_MARKERS: tuple[tuple[str, Shape], ...] = (
    ("response", "dolly"),
    ("instruction", "alpaca"),
    ("messages", "messages"),
    ("conversations", "conversations"),
    ("prompt", "prompt"),
)
_SHAPES = (
    "alpaca (instruction, input, output), dolly (instruction, context, response), messages, conversations"
    " or prompt and completion"
)
_PLAIN: dict[Shape, tuple[str, str, str | None]] = {
    "alpaca": ("instruction", "output", "input"),
    "dolly": ("instruction", "response", "context"),
    "prompt": ("prompt", "completion", None),
}
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Entry:
    """A parsed JSON value and the words that name its place in the file."""

    where: str
    value: object


@dataclass(frozen=True)
class _Turns:
    """How a list of chat turns names its fields and roles."""

    field: str
    role: str
    text: str
    user: str
    assistant: str


_MESSAGES = _Turns("messages", "role", "content", "user", "assistant")
_CONVERSATIONS = _Turns("conversations", "from", "value", "human", "gpt")


def read_records(path: Path, require_output: bool = True) -> list[Record]:
    """The records of a file in UTF-8: a JSON array, or one JSON object a line (blank lines are skipped).

    Every record has the shape of the first: alpaca (instruction, output, optional input), dolly, messages or
    ShareGPT conversations (one user and one assistant turn), or prompt and completion. Other fields are
    ignored.

    Args:
        path: the file.
        require_output: refuse an absent or empty answer; otherwise it is read as "".

    Raises:
        UsageError: names the file and the line (JSON lines) or the record (array, counted from 0) of the
            first fault.
    """
    entries = _array_entries(path) if _first_character(path) == b"[" else _line_entries(path)
    records: list[Record] = []
    first: Shape | None = None
    for entry in entries:
        shape = _shape(entry)
        first = first or shape
        if shape != first:
            raise UsageError(f"{entry.where}: shape {shape}, but the file began with {first}", todo="use one shape")
        records.append(_checked(entry.where, _record(entry, shape, require_output), require_output))
    if not records:
        raise UsageError(f"{path} holds no record", todo=f"give records of one shape: {_SHAPES}")
    return records


def _first_character(path: Path) -> bytes:
    """The first byte that is neither white space nor part of a byte order mark (b"" if there is none)."""
    try:
        with path.open("rb") as file:
            for chunk in iter(lambda: file.read(4096), b""):
                if start := chunk.removeprefix(_BOM).lstrip():
                    return start[:1]
    except OSError as error:
        raise UsageError(f"cannot read {path}", why=error.strerror or "") from error
    return b""


def _array_entries(path: Path) -> Iterator[_Entry]:
    if (size := path.stat().st_size) > LARGEST_ARRAY:
        raise UsageError(
            f"{path} is a JSON array of {size} bytes", why=f"at most {LARGEST_ARRAY}", todo="use JSON lines"
        )
    values = _parsed(str(path), path.read_bytes())
    if not isinstance(values, list):
        raise UsageError(f"{path} is not a JSON array")
    for index, value in enumerate(values):
        yield _Entry(f"{path}, record {index} (counted from 0)", value)


def _line_entries(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > LONGEST_LINE:
                raise UsageError(f"{where} is longer than {LONGEST_LINE} bytes", todo="give one record a line")
            if line.removeprefix(_BOM if number == 1 else b"").strip():
                yield _Entry(where, _parsed(where, line))


def _parsed(where: str, data: bytes) -> object:
    try:
        value: object = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        place = f"{where}: byte {error.start}" + (f" on line {line}" if line > 1 else "")
        raise UsageError(f"{place} is not UTF-8", todo="save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: invalid JSON", why=str(error), todo=f"give {_SHAPES}") from error
    return value


def _shape(entry: _Entry) -> Shape:
    fields = _fields(entry)
    for marker, shape in _MARKERS:
        if marker in fields:
            return shape
    found = ", ".join(list(fields)[:10]) or "none"
    raise UsageError(f"{entry.where}: unknown record shape", why=f"its fields: {found}", todo=f"give {_SHAPES}")


def _record(entry: _Entry, shape: Shape, require_output: bool) -> Record:
    fields = _fields(entry)
    if shape == "messages":
        return _dialogue(entry.where, fields, _MESSAGES, require_output)
    if shape == "conversations":
        return _dialogue(entry.where, fields, _CONVERSATIONS, require_output)
    question, answer, context = _PLAIN[shape]
    return Record(
        instruction=_text(entry.where, fields, question),
        output=_text(entry.where, fields, answer, optional=not require_output),
        input=_text(entry.where, fields, context, optional=True) if context else "",
    )


def _dialogue(where: str, fields: dict[str, object], names: _Turns, require_output: bool) -> Record:
    """The record of one user and one assistant turn; an empty system turn before them is left out."""
    turns = fields[names.field]
    if not isinstance(turns, list):
        raise UsageError(f"{where}: field {names.field!r} is not a list")
    places = [f"{where}, {names.field}[{index}]" for index in range(len(turns))]
    said = [_turn(_Entry(place, turn), names) for place, turn in zip(places, turns, strict=True)]
    if said and said[0][0] == "system":
        if said[0][1].strip():
            raise UsageError(f"{places[0]}: system turns are not supported", todo="leave the system text out")
        said = said[1:]
    roles = [role for role, _ in said]
    if roles == [names.user] and not require_output:
        return Record(said[0][1], "")
    if roles != [names.user, names.assistant]:
        why = f"it has the roles {', '.join(roles) or 'none'}"
        raise UsageError(f"{where}: not one {names.user} and one {names.assistant} turn", why=why)
    return Record(said[0][1], said[1][1])


def _turn(entry: _Entry, names: _Turns) -> tuple[str, str]:
    fields = _fields(entry)
    return _text(entry.where, fields, names.role), _text(entry.where, fields, names.text)


def _fields(entry: _Entry) -> dict[str, object]:
    if not isinstance(entry.value, dict):
        raise UsageError(f"{entry.where}: not a JSON object", why=f"it is a {type(entry.value).__name__}")
    return entry.value


def _text(where: str, fields: dict[str, object], name: str, optional: bool = False) -> str:
    """A field that is a string (an optional one may be absent or null) and can be written as UTF-8."""
    value = fields.get(name)
    if value is None and optional:
        return ""
    if name not in fields:
        raise UsageError(f"{where}: field {name!r} is missing")
    if not isinstance(value, str):
        raise UsageError(f"{where}: field {name!r} is not a string", why=f"it is a {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"{where}: field {name!r} holds half a surrogate pair", why="it is no valid text")
    return value


def _checked(where: str, record: Record, require_output: bool) -> Record:
    if not record.prompt.strip():
        raise UsageError(f"{where}: instruction and input are empty", todo="drop the record")
    if require_output and not record.output.strip():
        raise UsageError(f"{where}: the output is empty", todo="drop the record or give it an answer")
    return record
