"""Finished answers of a run of MT-Bench, and what two runs must share to be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.answers import AnswerLine, require_answers
from untrigger.evaluation.mt_bench.journal import read_lines
from untrigger.evaluation.mt_bench.questions import Question
from untrigger.files import write_text_atomic
from untrigger.report.parts import EnvironmentResult
from untrigger.runs import IDENTITY

ANSWERS, ENVIRONMENT = "answers.jsonl", "environment.json"
_SHARED = ("questions", "template", "asked")
"""Entries of two runs' identities that must be equal; the model may differ."""


@dataclass(frozen=True)
class Answers:
    """A finished file of answers, the answer to each question, and where they were made (None: not told)."""

    file: Path
    by_question: Mapping[int, AnswerLine]
    environment: EnvironmentResult | None


def finished_answers(folder: Path, identity: Mapping[str, object], questions: Sequence[Question]) -> Answers:
    """The answers of another run, made under the settings of this one.

    Raises:
        UsageError: there are none, some are missing, or the settings differ.
    """
    file = folder / ANSWERS
    try:
        theirs = dict(json.loads((folder / IDENTITY).read_text()))
        lines = read_lines(file, AnswerLine)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{folder} holds no answers", why=str(error), todo="name the output folder of another mt-bench run"
        ) from error
    differing = [name for name in _SHARED if theirs.get(name) != identity[name]]
    if differing:
        raise UsageError(
            f"{folder} was answered under other settings (different: {', '.join(differing)})",
            why="only the model may differ in a comparison",
            todo="answer both with the same options",
        )
    return Answers(file, require_answers(lines, questions, str(folder)), made_in(folder))


def require_environment(folder: Path, here: EnvironmentResult) -> None:
    """Notes where answers are made; the rest of a file has to be made there too.

    Raises:
        UsageError: the file was begun elsewhere.
    """
    then = made_in(folder)
    if then is None:
        write_text_atomic(folder / ENVIRONMENT, here.model_dump_json(indent=1) + "\n")
        return
    old, new = then.model_dump(), here.model_dump()
    changed = [name for name in new if old[name] != new[name]]
    if changed:
        raise UsageError(
            f"{folder} was begun in another environment (different: {', '.join(changed)})",
            why="half of the answers would be made otherwise than the other half",
            todo="go on where it was begun, or name another folder with --output",
        )


def made_in(folder: Path) -> EnvironmentResult | None:
    """Where a folder's answers were made, None if it does not tell.

    Raises:
        UsageError: the note is damaged.
    """
    file = folder / ENVIRONMENT
    if not file.is_file():
        return None
    try:
        return EnvironmentResult.model_validate_json(file.read_text())
    except ValidationError as error:
        raise UsageError(f"{file} is damaged", why=f"{error.error_count()} faults") from error


def require_same_precision(ours: Answers, theirs: Answers) -> None:
    """Two models are compared as answered on one kind of device in one precision.

    Raises:
        UsageError: they were not.
    """
    here, there = ours.environment, theirs.environment
    if here is None or there is None:
        return
    if (_kind(here.device), here.dtype) != (_kind(there.device), there.dtype):
        raise UsageError(
            f"{theirs.file} was made on {there.device} in {there.dtype}, this on {here.device} in {here.dtype}",
            why="the difference would not be the model's alone",
            todo="answer both alike",
        )


def _kind(device: str) -> str:
    return device.partition(":")[0]
