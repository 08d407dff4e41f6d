"""Append-only files of JSON lines: each line is on the disk before the next begins; a half line is dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from untrigger.errors import UsageError
from untrigger.files import disk_errors


class Line(BaseModel):
    """Base of what a journal holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Kind = TypeVar("_Kind", bound=Line)


class Journal(Generic[_Kind]):
    """The lines of a file, and a way to add to them. One process at a time: the run folder's lock sees to that."""

    def __init__(self, path: Path, kind: type[_Kind]) -> None:
        """Reads what is there; if the last line is a half one, the file is cut before it.

        Raises:
            UsageError: any other line is damaged.
        """
        self.path = path
        data = path.read_bytes() if path.exists() else b""
        self._lines, whole = _parsed(path, data, kind)
        if whole < len(data):
            with disk_errors(path.parent):
                os.truncate(path, whole)

    @property
    def lines(self) -> tuple[_Kind, ...]:
        """All lines, oldest first."""
        return tuple(self._lines)

    def append(self, line: _Kind) -> None:
        """Adds a line; it is on the disk when this returns.

        Raises:
            UntriggerError: the disk is full or the folder not writable.
        """
        text = json.dumps(line.model_dump(), ensure_ascii=True, allow_nan=False) + "\n"
        with disk_errors(self.path.parent, len(text)), self.path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        self._lines.append(line)


def read_lines(path: Path, kind: type[_Kind]) -> list[_Kind]:
    """The whole lines of another run's journal, which is not changed; raises as `Journal`."""
    return _parsed(path, path.read_bytes(), kind)[0]


def _parsed(path: Path, data: bytes, kind: type[_Kind]) -> tuple[list[_Kind], int]:
    """The lines, and where the last whole one ends."""
    lines: list[_Kind] = []
    end = 0
    pieces = data.split(b"\n")
    for number, piece in enumerate(pieces[:-1], start=1):
        try:
            lines.append(kind.model_validate(json.loads(piece)))
        except (ValidationError, ValueError, RecursionError) as error:
            if number == len(pieces) - 1:  # a machine that lost power may leave a line of zeros with its end
                return lines, end
            raise UsageError(
                f"{path}, line {number} is damaged", why=str(error).partition("\n")[0], todo="delete this line"
            ) from error
        end += len(piece) + 1
    return lines, end
