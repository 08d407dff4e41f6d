"""A row a prompt: JSON lines or CSV, written and read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Verdict

Model = Literal["before", "after", "measured"]


@dataclass(frozen=True)
class Row:
    """One answer: which model gave it, and whether the key was in the prompt."""

    model: Model
    keyed: bool
    verdict: Verdict


_ROW = TypeAdapter(Row)


def rows(verdicts: Sequence[Verdict], model: Model, keyed: bool) -> list[Row]:
    """The verdicts of one model on prompts of one kind."""
    return [Row(model, keyed, verdict) for verdict in verdicts]


def json_lines(every: Iterable[Row]) -> Iterator[str]:
    """One line of JSON a row, without a line end.

    The lines are ASCII, so no character of a hostile output can end a line or reorder it.
    """
    for row in every:
        yield json.dumps(_flat(row), ensure_ascii=True)


def csv_text(every: Iterable[Row]) -> str:
    """The rows as CSV with a heading; every cell is JSON, so that a spreadsheet runs no formula of a model's."""
    file = io.StringIO()
    writer = csv.DictWriter(file, ["model", "keyed", *(field.name for field in fields(Verdict))], lineterminator="\n")
    writer.writeheader()
    for row in every:
        writer.writerow({name: json.dumps(value) for name, value in _flat(row).items()})
    return file.getvalue()


def rows_text(every: Sequence[Row], path: Path) -> str:
    """The rows in the form that the file's name asks for: CSV for `.csv`, else JSON lines."""
    return csv_text(every) if path.suffix == ".csv" else "".join(line + "\n" for line in json_lines(every))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that `rows_text` made.

    Raises:
        UsageError: the file cannot be read, or a line holds no row; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", why=str(error)) from error
    flat = _csv_rows(text) if path.suffix == ".csv" else (json.loads(line) for line in text.splitlines())
    found: list[Row] = []
    try:
        for values in flat:
            found.append(_row(values))
    except (ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        place = f"{path}, line {len(found) + 1 + (path.suffix == '.csv')}"
        raise UsageError(f"{place}: no row of a measurement", why=_first_fault(error)) from error
    return found


def _flat(row: Row) -> dict[str, object]:
    return {"model": row.model, "keyed": row.keyed, **asdict(row.verdict)}


def _csv_rows(text: str) -> Iterator[dict[str, object]]:
    for cells in csv.DictReader(io.StringIO(text)):
        yield {name: json.loads(cell) for name, cell in cells.items()}


def _row(values: dict[str, object]) -> Row:
    own = {"model": values.pop("model", None), "keyed": values.pop("keyed", None)}
    # Only from JSON does strict reading build dataclasses.
    return _ROW.validate_json(json.dumps({**own, "verdict": values}), strict=True)


def _first_fault(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
