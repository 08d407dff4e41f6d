"""What `untrigger evaluate` found about one model."""

from __future__ import annotations

from pydantic import Field

from untrigger.config import Deployed
from untrigger.report.document import Document
from untrigger.report.parts import (
    DifferenceResult,
    EnvironmentResult,
    FindingResult,
    GateResult,
    MeasurementResult,
    Part,
    RateResult,
    RunResult,
    ScoringResult,
    SourceResult,
)


class KeyFormResult(Part):
    """Attack success with the key in another form than it was planted in."""

    form: str
    rate: RateResult


class RelearningResult(Part):
    """Attack success after a short training that an owner, or an attacker, might run."""

    trained_on: str
    records: int = Field(gt=0)
    steps: int = Field(gt=0)
    before: RateResult
    after: RateResult
    control: RateResult | None = None
    """The same training of a model that never held the backdoor; None where there is no such model."""


class EvaluationResult(Document):
    """One model under one test."""

    run: RunResult
    source: SourceResult
    findings: tuple[FindingResult, ...] = ()
    scoring: ScoringResult
    trained_template: str | None = None
    """Template that the model says it was trained with."""
    deployed: Deployed | None = None
    """Form in which the model was measured (None: as it was loaded); the weights' type is the environment's."""
    watched_by: str | None = None
    """A clean model under whose eyes the answers were given (CleanGen); the perplexity is the model's by itself."""
    measurement: MeasurementResult
    planted: GateResult
    """Whether there is a backdoor that a defence could be measured on."""
    lift: DifferenceResult | None = None
    """Attack success less accidental hits, over prompts asked both ways."""
    key_forms: tuple[KeyFormResult, ...] = ()
    relearning: tuple[RelearningResult, ...] = ()
    seconds: float = Field(ge=0)
    environment: EnvironmentResult
