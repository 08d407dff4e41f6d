"""Reading benchmark files: every line is checked before anything is run."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from untrigger.errors import UsageError
from untrigger.evaluation.utility.rows import Document, MmluRow, Row
from untrigger.evaluation.utility.tasks import MMLU, TASKS, UtilityTask
from untrigger.files import sha256

FOLDER = "benchmarks"
"""Name, in the data folder, of the folder that the files lie in."""


@dataclass(frozen=True)
class BenchmarkFile:
    """A file that was read without a fault: its SHA-256 and its number of lines."""

    sha256: str
    lines: int


def read_rows(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file of JSON lines in UTF-8, gzip-compressed if its name ends in .gz.

    Raises:
        UsageError: not there, damaged, empty, or a faulty line, which is named.
    """
    rows = [_row(path, number, line, row) for number, line in enumerate(_lines(path), start=1)]
    if not rows:
        raise UsageError(f"{path} is empty", todo="fetch the file again")
    return rows


def documents_by_leaf(task: UtilityTask, rows: Sequence[Row]) -> dict[str, list[Document]]:
    """lm-eval's task names -> their documents: one task, or MMLU's subjects in alphabetical order."""
    if task.name != MMLU:
        return {task.name: [row.document() for row in rows]}
    leaves: dict[str, list[Document]] = {}
    for row in rows:
        if isinstance(row, MmluRow):
            leaves.setdefault(f"{MMLU}_{row.subject}", []).append(row.document())
    return dict(sorted(leaves.items()))


def check_files(folder: Path, tasks: Sequence[str], complete: bool) -> dict[str, BenchmarkFile]:
    """File name -> facts, for every file that the tasks need.

    Args:
        folder: the data folder, which holds `benchmarks/`.
        tasks: names of the table.
        complete: whether a number of items other than the official one is an error.

    Raises:
        UsageError: the folder or a file is missing or faulty.
    """
    if not (folder / FOLDER).is_dir():
        raise UsageError(
            f"{folder / FOLDER} is not a folder",
            todo=f"name the folder that holds {FOLDER}/ with --data, or take --data hub",
        )
    found: dict[str, BenchmarkFile] = {}
    for task in (TASKS[name] for name in tasks):
        found[task.file] = _checked(folder / FOLDER / task.file, task.row)
        if complete and found[task.file].lines != task.items:
            raise UsageError(
                f"{folder / FOLDER / task.file} holds {found[task.file].lines} items, not {task.items}",
                why="the full profile asks every official item",
                todo="fetch the file again, or take --profile standard",
            )
        if task.examples is not None:
            found[task.examples] = _examples(folder / FOLDER / task.examples, task)
    return found


def incomplete(files: Mapping[str, BenchmarkFile], tasks: Sequence[str]) -> list[str]:
    """A sentence for every file whose number of items is not the official one."""
    return [
        f"{task.file} holds {files[task.file].lines} items, the official split {task.items}"
        for task in (TASKS[name] for name in tasks)
        if files[task.file].lines != task.items
    ]


def _checked(path: Path, row: type[Row]) -> BenchmarkFile:
    rows = read_rows(path, row)
    return BenchmarkFile(sha256(path), len(rows))


def _examples(path: Path, task: UtilityTask) -> BenchmarkFile:
    file = _checked(path, task.row)
    if file.lines < task.shots:
        raise UsageError(f"{path} holds {file.lines} examples", why=f"{task.name} needs {task.shots}")
    return file


def _lines(path: Path) -> Iterator[bytes]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007 - the error below names it
                yield line
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} does not exist", todo="fetch the file, or leave its task out with --tasks"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path}, after line {number}: cannot be read", why=str(error), todo="fetch the file again"
        ) from error


def _row(path: Path, number: int, line: bytes, row: type[Row]) -> Row:
    try:
        return row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}, line {number}: {field + ': ' if field else ''}{first['msg']}", todo="fetch the file again"
        ) from error
