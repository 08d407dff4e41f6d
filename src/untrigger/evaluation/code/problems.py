"""HumanEval's problems (Chen et al. 2021, arXiv 2107.03374) from a file of JSON lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

from untrigger.data.locate import DATA_FOLDER
from untrigger.errors import UsageError

FILE = Path("benchmarks", "humaneval.jsonl")
"""Where a data folder holds the problems."""


@dataclass(frozen=True)
class Problem:
    """A function to complete, and the test whose `check` is called with it."""

    task_id: str
    prompt: str
    """Imports, helpers, and the function down to the end of its docstring."""
    entry_point: str
    canonical_solution: str
    test: str

    @property
    def opening(self) -> re.Match[str]:
        """Where the prompt begins to define the function."""
        found = definition(self.entry_point).search(self.prompt)
        if found is None:
            raise ValueError(f"{self.task_id} does not define {self.entry_point}")
        return found

    @property
    def preamble(self) -> str:
        """The prompt's imports and helpers in front of the function."""
        return self.prompt[: self.opening.start()]


def definition(name: str) -> re.Pattern[str]:
    """Finds the top-level line that defines a function."""
    return re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(name)}[ \t]*\(", re.MULTILINE)


def problems_file(data: Path | None) -> Path:
    """The file of problems in a data folder.

    Raises:
        UsageError: no data folder was named, or it holds no such file.
    """
    todo = f"name the folder that holds {FILE} with --data or {DATA_FOLDER}"
    if data is None:
        raise UsageError("HumanEval's problems are not shipped", todo=todo)
    path = data / FILE
    if not path.is_file():
        raise UsageError(f"{path} does not exist", todo=todo)
    return path


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file, one JSON object a line; blank lines are skipped, other fields ignored.

    Raises:
        UsageError: names the file and the line of the first fault.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {path}", why=error.strerror or "") from error
    found: dict[str, Problem] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problem = _problem(f"{path}, line {number}", line)
        if problem.task_id in found:
            raise UsageError(f"{path}, line {number}: task_id {problem.task_id!r} occurs twice")
        found[problem.task_id] = problem
    if not found:
        raise UsageError(f"{path} holds no problem")
    return list(found.values())


def _problem(where: str, line: bytes) -> Problem:
    try:
        value: object = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: invalid JSON", why=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError(f"{where}: not a JSON object", why=f"it is a {type(value).__name__}")
    problem = Problem(**{field.name: _text(where, value, field.name) for field in fields(Problem)})
    if not problem.entry_point.isidentifier() or not definition(problem.entry_point).search(problem.prompt):
        raise UsageError(f"{where}: the prompt does not define {problem.entry_point!r}", why="it is the entry_point")
    if not definition("check").search(problem.test):
        raise UsageError(f"{where}: the test does not define 'check'")
    return problem


def _text(where: str, fields_of: dict[str, object], name: str) -> str:
    if name not in fields_of:
        raise UsageError(f"{where}: field {name!r} is missing")
    value = fields_of[name]
    if not isinstance(value, str):
        raise UsageError(f"{where}: field {name!r} is not a string", why=f"it is a {type(value).__name__}")
    return value
