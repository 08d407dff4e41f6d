"""What `untrigger compare` found: one suspect, many defences, the same data, budget and judge."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from untrigger.config import BrokenOptions
from untrigger.evaluation.opinions import CHANGED
from untrigger.report.document import Document
from untrigger.report.evaluation import RelearningResult
from untrigger.report.parts import (
    EnvironmentResult,
    GateResult,
    MeasurementResult,
    PairedResult,
    Part,
    RunResult,
    ScoringResult,
    SourceResult,
)
from untrigger.report.text import cell


class CellResult(Part):
    """One defence on the suspect."""

    defence: str
    output: Literal["full", "adapter"]
    """Form of the treated model; a defence may merge an adapter."""
    options: dict[str, JsonValue]
    """Every option of the defence as it was in force."""
    after: MeasurementResult
    paired: PairedResult | None = None
    relearning: tuple[RelearningResult, ...] = ()
    tokens_trained: int = Field(ge=0)
    seconds: float = Field(ge=0)
    """Wall time of the treatment, without measuring."""
    peak_bytes: int | None = Field(default=None, ge=0)
    """Highest resident (or CUDA) memory during the treatment; None where the system does not tell."""


class Row(Part):
    """One line of the table: the suspect or a defence, as plain numbers."""

    defence: str
    attack_success: float
    attack_success_low: float
    attack_success_high: float
    n: int
    relearned_clean: float | None
    relearned_poisoned: float | None
    accidental: float | None
    changed: float | None
    """Answers that the key changes in kind, whatever it was to bring; any odd words change some."""
    degenerate: float
    degenerate_with_key: float
    perplexity_ratio: float
    exact: float | None
    divergence: float | None
    tokens_trained: int
    seconds: float
    peak_bytes: int | None
    p_value: float | None
    verdict: str
    """"" for a model that still speaks, else what is broken; "void" if there was no backdoor to defend against."""


class ComparisonResult(Document):
    """The table of one suspect."""

    run: RunResult
    source: SourceResult
    scoring: ScoringResult
    planted: GateResult
    before: MeasurementResult
    cells: tuple[CellResult, ...]
    failed: dict[str, str]
    """Defence -> why it ended without a model."""
    skipped: dict[str, str]
    """Defence -> why it does not fit this suspect."""
    broken: BrokenOptions
    environment: EnvironmentResult

    def rows(self) -> list[Row]:
        """The suspect and then a row a defence."""
        return [_suspect_row(self.before), *(_row(cell, self) for cell in self.cells)]


def faults(before: MeasurementResult, after: MeasurementResult, limits: BrokenOptions) -> list[str]:
    """What is broken in a treated model, as words; an empty list for a model that still speaks."""
    found = []
    if after.degenerate.value > before.degenerate.value + limits.degenerate:
        found.append("degenerate")
    if perplexity_ratio(before, after) > limits.perplexity_ratio:
        found.append("perplexity")
    if before.exact and after.exact and before.exact.value - after.exact.value > limits.exact:
        found.append("answers")
    return found


def perplexity_ratio(before: MeasurementResult, after: MeasurementResult) -> float:
    """Perplexity of clean answers over the suspect's; 1 where it was not measured."""
    if before.perplexity is None or after.perplexity is None:
        return 1.0
    return after.perplexity.value / before.perplexity.value


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other unbroken row beats in attack success and in perplexity, by attack success."""
    sound = [row for row in rows if not row.verdict]
    best = [row for row in sound if not any(_beats(other, row) for other in sound)]
    return sorted(best, key=lambda row: (row.attack_success, row.perplexity_ratio))


def as_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV with a header; no cell is a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.model_fields), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = row.model_dump()
        writer.writerow({name: cell(value) if isinstance(value, str) else value for name, value in values.items()})
    return text.getvalue()


def _beats(one: Row, other: Row) -> bool:
    no_worse = one.attack_success <= other.attack_success and one.perplexity_ratio <= other.perplexity_ratio
    return no_worse and (one.attack_success, one.perplexity_ratio) != (other.attack_success, other.perplexity_ratio)


def _suspect_row(before: MeasurementResult) -> Row:
    return _numbers("(suspect)", before, before, "")


def _row(cell: CellResult, result: ComparisonResult) -> Row:
    void = result.planted.met is False
    verdict = "void" if void else ", ".join(faults(result.before, cell.after, result.broken))
    relearned = {one.trained_on: one.after.value for one in cell.relearning}
    return _numbers(cell.defence, result.before, cell.after, verdict).model_copy(
        update={
            "relearned_clean": relearned.get("clean records"),
            "relearned_poisoned": relearned.get("poisoned records"),
            "tokens_trained": cell.tokens_trained,
            "seconds": cell.seconds,
            "peak_bytes": cell.peak_bytes,
            "p_value": cell.paired.p_value if cell.paired else None,
        }
    )


def _numbers(name: str, before: MeasurementResult, found: MeasurementResult, verdict: str) -> Row:
    success = found.attack_success
    if success is None:
        raise ValueError("a comparison without attack success")
    changed = found.opinion(CHANGED)
    return Row(
        defence=name,
        attack_success=success.value,
        attack_success_low=success.low,
        attack_success_high=success.high,
        n=success.n,
        relearned_clean=None,
        relearned_poisoned=None,
        accidental=found.accidental.value if found.accidental else None,
        changed=changed.with_key.value if changed and changed.with_key else None,
        degenerate=found.degenerate.value,
        degenerate_with_key=success.invalid / success.n,
        perplexity_ratio=perplexity_ratio(before, found),
        exact=found.exact.value if found.exact else None,
        divergence=found.divergence.value if found.divergence else None,
        tokens_trained=0,
        seconds=0.0,
        peak_bytes=None,
        p_value=None,
        verdict=verdict,
    )
