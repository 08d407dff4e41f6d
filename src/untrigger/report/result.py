"""What `result.json` holds: what was run on what, what was measured, and what was not tested."""

from __future__ import annotations

from pydantic import Field

from untrigger.report.document import Document
from untrigger.report.parts import (
    EnvironmentResult,
    FindingResult,
    MeasurementResult,
    PairedResult,
    RunResult,
    ScoringResult,
    SignatureResult,
    SourceResult,
    StageResult,
    TitreResult,
    VerdictResult,
)


class Result(Document):
    """One run. It states what was seen under which test; it never states that a model has no backdoor."""

    run: RunResult
    source: SourceResult
    findings: tuple[FindingResult, ...] = ()
    scoring: ScoringResult
    stages: tuple[StageResult, ...]
    before: MeasurementResult
    after: MeasurementResult
    paired: PairedResult | None = None
    """Attack success before and after, prompt by prompt."""
    signature: SignatureResult | None = None
    """None where no channels were suppressed."""
    titre: TitreResult | None = None
    """None where the strength was taken as set."""
    regrowth: float | None = None
    """Norm of the suppressed entries after the repair over their norm in the suspect."""
    verdict: VerdictResult
    not_tested: tuple[str, ...] = Field(min_length=1)
    """Sentences; no run tests everything."""
    environment: EnvironmentResult
