"""The files of MT-Bench, read in place from a folder that the user names; an incomplete one is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from untrigger.data.locate import DATA_FOLDER
from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.questions import (
    A_CATEGORY,
    PLACEHOLDER,
    PLACEHOLDERS,
    REFERENCED,
    TEMPERATURES,
    Bench,
    DataFile,
    JudgePrompt,
    Published,
    Question,
)
from untrigger.files import sha256

DEFAULT_REFERENCES = "reference_answer_gpt-4.jsonl"
QUESTIONS_FILE, PROMPTS_FILE = "question.jsonl", "judge_prompts.jsonl"
_LARGEST = 20_000_000  # bytes; the published files have less than 0.1 MB


class _Turns(Published):
    turns: tuple[str, str]


class _Reference(Published):
    question_id: int
    choices: tuple[_Turns, ...] = Field(min_length=1)


_Line = TypeVar("_Line", bound=Published)


def bench_folder(given: Path | None, environment: Mapping[str, str]) -> Path:
    """The folder of the files: `benchmarks/mt_bench` below the data folder.

    Raises:
        UsageError: no data folder is named, or it holds no such folder.
    """
    named = given or (Path(environment[DATA_FOLDER]) if environment.get(DATA_FOLDER) else None)
    files = f"benchmarks/mt_bench/{QUESTIONS_FILE}, {PROMPTS_FILE} and {DEFAULT_REFERENCES}"
    if named is None:
        raise UsageError(
            "no data folder is named", why=f"it has to hold {files}", todo=f"pass --data DIR or set {DATA_FOLDER}"
        )
    folder = named / "benchmarks" / "mt_bench"
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", why=f"the data folder has to hold {files}")
    return folder


def read_bench(folder: Path, references: Path | None = None) -> Bench:
    """Everything MT-Bench needs; `references` is a file, or the name of one in the folder.

    Raises:
        UsageError: a file is missing or broken, or is not complete: 8 categories of 10 questions, the eight judge
            prompts with their places, and a reference for each question of mathematics, reasoning and coding.
    """
    chosen = _references_file(folder, references)
    questions = _lines(folder / QUESTIONS_FILE, Question)
    _require_complete(folder / QUESTIONS_FILE, questions)
    return Bench(
        tuple(questions),
        _prompts(folder / PROMPTS_FILE),
        _references(chosen, questions),
        _described(folder / QUESTIONS_FILE),
        _described(folder / PROMPTS_FILE),
        _described(chosen),
    )


def _references_file(folder: Path, given: Path | None) -> Path:
    for candidate in (given, folder / given) if given else (folder / DEFAULT_REFERENCES,):
        if candidate.is_file():
            return candidate
    there = ", ".join(sorted(file.name for file in folder.glob("reference_answer*.jsonl"))) or "none"
    raise UsageError(f"reference file {given or DEFAULT_REFERENCES} does not exist", why=f"{folder} has: {there}")


def _require_complete(path: Path, questions: Sequence[Question]) -> None:
    _require_once(path, [question.question_id for question in questions])
    empty = [question.question_id for question in questions if not all(turn.strip() for turn in question.turns)]
    if empty:
        raise UsageError(f"{path}: question {empty[0]} has an empty turn")
    counts = Counter(question.category for question in questions)
    if unknown := sorted(counts.keys() - TEMPERATURES.keys()):
        raise UsageError(f"{path}: category {unknown[0]!r} is unknown", todo=f"known: {', '.join(TEMPERATURES)}")
    for category in TEMPERATURES:
        if counts[category] != A_CATEGORY:
            why = "a score over other questions would not be MT-Bench's"
            raise UsageError(
                f"{path} has {counts[category]} questions of {category}, not {A_CATEGORY}",
                why=why,
                todo="get the whole file; --limit asks fewer",
            )


def _prompts(path: Path) -> dict[str, JudgePrompt]:
    prompts = _lines(path, JudgePrompt)
    _require_once(path, [prompt.name for prompt in prompts])
    by_name = {prompt.name: prompt for prompt in prompts if prompt.name in PLACEHOLDERS}
    for name, places in PLACEHOLDERS.items():
        if name not in by_name:
            raise UsageError(f"{path}: judge prompt {name} is missing")
        found = frozenset(PLACEHOLDER.findall(by_name[name].prompt_template))
        if found != places:
            raise UsageError(
                f"{path}: judge prompt {name} has the places {', '.join(sorted(found)) or 'none'}",
                why=f"needed: {', '.join(sorted(places))}",
            )
    return by_name


def _references(path: Path, questions: Iterable[Question]) -> dict[int, tuple[str, str]]:
    lines = _lines(path, _Reference)
    _require_once(path, [line.question_id for line in lines])
    by_question = {line.question_id: line.choices[0].turns for line in lines}
    for question in questions:
        if question.category in REFERENCED and question.question_id not in by_question:
            raise UsageError(f"{path} has no reference for question {question.question_id}, {question.category}")
    return by_question


def _require_once(path: Path, keys: Sequence[int | str]) -> None:
    for key, count in Counter(keys).items():
        if count > 1:
            raise UsageError(f"{path}: {key} stands there {count} times")


def _described(path: Path) -> DataFile:
    return DataFile(path.name, sha256(path))


def _lines(path: Path, kind: type[_Line]) -> list[_Line]:
    """The objects of a file of JSON lines; blank lines are skipped."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST} bytes", why="it is no file of MT-Bench")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}", why=error.strerror or "") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", why=f"byte {error.start}") from error
    return [_line(path, number, line, kind) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _line(path: Path, number: int, line: str, kind: type[_Line]) -> _Line:
    try:
        return kind.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}, line {number}: {field or 'line'}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}: invalid JSON", why=str(error)) from error
