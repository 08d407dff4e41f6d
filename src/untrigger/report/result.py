"""What `result.json` holds: what was run on what, what was measured, and what was not tested."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import Field, ValidationError

from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Verdict
from untrigger.report.parts import (
    EnvironmentResult,
    MeasurementResult,
    Part,
    RunResult,
    ScoringResult,
    SignatureResult,
    SourceResult,
    StageResult,
    VerdictResult,
)

SCHEMA_VERSION = 1


class Result(Part):
    """One run. It states what was seen under which test; it never states that a model has no backdoor."""

    schema_version: Literal[1] = 1
    run: RunResult
    source: SourceResult
    scoring: ScoringResult
    stages: tuple[StageResult, ...]
    before: MeasurementResult
    after: MeasurementResult
    signature: SignatureResult | None = None
    """None where no channels were suppressed."""
    regrowth: float | None = None
    """Norm of the suppressed entries after the repair over their norm in the suspect."""
    verdict: VerdictResult
    not_tested: tuple[str, ...] = Field(min_length=1)
    """Sentences; no run tests everything."""
    environment: EnvironmentResult

    def to_json(self) -> str:
        """Strict JSON in ASCII, so that hostile names cannot disguise the file's text."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Reads `to_json`'s text.

        Raises:
            UsageError: no JSON, or not a result of this schema; names the first field at fault.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "file"
            raise UsageError(
                f"result.json: {field}: {first['msg']}",
                why=f"{error.error_count()} faults; schema_version {SCHEMA_VERSION} is read",
            ) from error


def rows(verdicts: Sequence[Verdict], model: Literal["before", "after"], keyed: bool) -> Iterator[str]:
    """One line of JSON a verdict, without a line end: the verdict's fields, the model, and if the key was in.

    The lines are ASCII, so no character of a hostile output can end a line or reorder it.
    """
    for verdict in verdicts:
        yield json.dumps({"model": model, "keyed": keyed, **asdict(verdict)}, ensure_ascii=True)
