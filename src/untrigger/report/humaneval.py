"""A HumanEval measurement as files: the result, and a row a problem."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from untrigger.errors import UsageError
from untrigger.evaluation.code.sandbox import Outcome
from untrigger.evaluation.code.scores import Comparison
from untrigger.report.document import Document, parsed
from untrigger.report.parts import EnvironmentResult, Part, RateResult, SourceResult
from untrigger.report.text import rate_text, visible

RESULT, ROWS = "humaneval.json", "rows.jsonl"


class Row(Part):
    """One problem: the answer, the program made of it, and what became of that."""

    task_id: str
    outcome: Outcome
    detail: str
    complete: bool
    """Whether the model ended the answer itself."""
    answer: str
    program: str | None
    """None where the answer held no code."""


class ComparisonResult(Part):
    """The paired comparison with an earlier measurement (the first); shares in 0..1."""

    against: SourceResult
    both: int = Field(ge=0)
    only_first: int = Field(ge=0)
    only_second: int = Field(ge=0)
    neither: int = Field(ge=0)
    difference: float = Field(ge=-1, le=1)
    """Share passed, this measurement minus the earlier one."""
    p_value: float = Field(ge=0, le=1)
    """McNemar's exact test, two-sided."""

    @classmethod
    def of(cls, comparison: Comparison, against: SourceResult) -> ComparisonResult:
        """The comparison with the name of the earlier model."""
        return cls(**asdict(comparison), difference=comparison.difference, against=against)


class Conditions(Part):
    """What two measurements must share to be compared."""

    problems_sha256: str
    prompt: Literal["chat", "completion"]
    template: str
    """Name and hash of the template that the prompt was put in."""
    decoding: Literal["greedy"] = "greedy"
    max_new_tokens: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    dtype: str
    seconds: float = Field(gt=0)
    """Longest run of one program."""
    containment: Literal["namespaces", "process"]


class HumanEvalResult(Document):
    """pass@1 of one model, with everything it depends on."""

    version: str
    """Version of untrigger."""
    model: SourceResult
    conditions: Conditions
    pass_at_1: RateResult
    outcomes: dict[Outcome, int]
    warnings: tuple[str, ...]
    """What the containment lacked."""
    comparison: ComparisonResult | None = None
    environment: EnvironmentResult


@dataclass(frozen=True)
class Finished:
    """A measurement read back from its folder."""

    folder: Path
    result: HumanEvalResult
    outcomes: Mapping[str, Outcome]


def read_finished(folder: Path) -> Finished:
    """A measurement that was written earlier.

    Raises:
        UsageError: the folder holds none, or a damaged one; names file and line.
    """
    result = HumanEvalResult.from_json(_text(folder / RESULT), str(folder / RESULT))
    lines = _text(folder / ROWS).splitlines()
    rows = [parsed(Row, f"{folder / ROWS}, line {number}", line) for number, line in enumerate(lines, start=1)]
    outcomes = {row.task_id: row.outcome for row in rows}
    passed = list(outcomes.values()).count("passed")
    if len(outcomes) != len(rows) or (passed, len(rows)) != (result.pass_at_1.hits, result.pass_at_1.n):
        raise UsageError(f"{folder / ROWS} does not belong to {RESULT}", todo="measure that model again")
    return Finished(folder, result, outcomes)


def require_comparable(earlier: Finished, now: Conditions, tasks: Sequence[str]) -> None:
    """Refuses to compare what was measured differently.

    Raises:
        UsageError: names every condition that differs.
    """
    old, new = earlier.result.conditions.model_dump(), now.model_dump()
    wrong = [f"{name}: {old[name]} then, {new[name]} now" for name in new if old[name] != new[name]]
    if set(tasks) != earlier.outcomes.keys():
        wrong.append(f"problems asked: {len(earlier.outcomes)} then, {len(tasks)} now")
    if wrong:
        raise UsageError(
            f"{earlier.folder} was measured differently ({'; '.join(wrong)})",
            todo="measure both models with the same options",
        )


def rows_text(rows: Iterable[Row]) -> str:
    """JSON lines in ASCII, so that no character of an answer can end a line."""
    return "".join(json.dumps(row.model_dump(mode="json"), ensure_ascii=True) + "\n" for row in rows)


def summary_lines(result: HumanEvalResult) -> list[str]:
    """The result for a terminal."""
    counted = [f"{count} {name}" for name, count in result.outcomes.items() if count]
    lines = [
        visible(f"HumanEval, {result.model.reference}"),
        f"  pass@1        {rate_text(result.pass_at_1)}",
        f"  outcomes      {', '.join(counted)}",
        f"  prompt        {result.conditions.prompt}, greedy",
        f"  containment   {result.conditions.containment}{', see the warning' if result.warnings else ''}",
    ]
    return [*lines, *(_compared(result.comparison) if result.comparison else [])]


def _compared(found: ComparisonResult) -> list[str]:
    return [
        visible(f"  against       {found.against.reference}"),
        f"  difference    {100 * found.difference:+.1f} points, McNemar p = {found.p_value:.3g}",
        f"  passed        both {found.both}, only before {found.only_first}, only now {found.only_second}",
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else "it is not UTF-8"
        todo = "name the output folder of a finished humaneval run"
        raise UsageError(f"cannot read {path}", why=why, todo=todo) from error
