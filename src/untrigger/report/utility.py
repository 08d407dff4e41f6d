"""What `utility.json` holds: the benchmarks of one model, and its comparison with another where one was asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from untrigger.report.document import Document
from untrigger.report.parts import DifferenceResult, EnvironmentResult, Part, SourceResult

UTILITY, ITEMS = "utility.json", "items.jsonl"

DataSource = Literal["local", "hub"]


class MetricResult(Part):
    """The mean of 0/1 scores, with its 95 % interval; shares, not points."""

    name: str
    """lm-eval's `metric,filter`."""
    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    interval: Literal["wilson", "normal"]
    """Wilson's for less than 500 items, else 1.96 standard errors."""
    standard_error: float = Field(ge=0)
    n: int = Field(gt=0)


class SubjectResult(Part):
    """One subject of MMLU, which is too small for a comparison of its own."""

    name: str
    value: float = Field(ge=0, le=1)
    n: int = Field(gt=0)


class TaskResult(Part):
    """One benchmark."""

    name: str
    metrics: tuple[MetricResult, ...] = Field(min_length=1)
    """The first is the one that averages are made of."""
    available: int = Field(gt=0)
    """Items that the data holds."""
    official: int = Field(gt=0)
    """Items of the official split."""
    items: Literal["all"] | tuple[int, ...]
    """Numbers of the items asked, counted from 0 in the file; MMLU's over its subjects in alphabetical order."""
    shots: int = Field(ge=0)
    chat_template: bool
    max_new_tokens: int | None = None
    """None where nothing is generated."""
    cut: int = Field(ge=0)
    """Items whose prompt was too long for the model and lost its beginning."""
    subjects: tuple[SubjectResult, ...] = ()
    revision: str | None = None
    """Commit of the data set, if it came from the hub."""


class AverageResult(Part):
    """A plain mean over tasks, with an interval from their standard errors."""

    name: str
    normalised: bool
    """Whether acc_norm was taken where a task has it."""
    value: float = Field(ge=0, le=1)
    low: float
    high: float


class SettingsResult(Part):
    """What must be the same in results that are compared."""

    profile: Literal["smoke", "quick", "standard", "full"]
    data_source: DataSource
    files: dict[str, str]
    """Name under `benchmarks/` -> SHA-256; empty where the data came from the hub."""
    device: str
    dtype: str
    batch_size: int = Field(gt=0)
    max_length: int = Field(gt=0)
    template: Literal["generation", "none", "all"]
    lm_eval: str


class TaskComparison(Part):
    """One task's first metric under the other model (before) and this one (after)."""

    task: str
    metric: str
    before: float
    after: float
    difference: DifferenceResult
    only_before: int = Field(ge=0)
    """Items that the other model alone got right."""
    only_after: int = Field(ge=0)
    p: float = Field(ge=0, le=1)
    """McNemar's exact test."""
    p_holm: float = Field(ge=0, le=1)
    """The same, corrected over all tasks."""


class AverageComparison(Part):
    """An average under both models; the bootstrap draws from each task by itself."""

    name: str
    normalised: bool
    tasks: tuple[str, ...]
    before: float
    after: float
    difference: DifferenceResult


class BudgetVerdict(Part):
    """Whether the average over all tasks lost less than the budget, with 95 % confidence."""

    met: bool
    low: float
    """Lower end that was compared: the interval's, or what so few items cannot rule out, if that is lower."""
    budget: float
    """As a share: 0.02 is two points."""
    resolution: float
    reason: str


class Comparison(Part):
    """This model against another on the same items."""

    against: SourceResult
    tasks: tuple[TaskComparison, ...]
    averages: tuple[AverageComparison, ...]
    verdict: BudgetVerdict


class UtilityResult(Document):
    """One model's utility. The same command gives the same bytes on one machine's CPU."""

    version: str
    model: SourceResult
    settings: SettingsResult
    tasks: tuple[TaskResult, ...] = Field(min_length=1)
    averages: tuple[AverageResult, ...]
    notes: tuple[str, ...]
    """Sentences on what these figures do not show."""
    items_sha256: str
    """SHA-256 of items.jsonl, which holds every item's score."""
    environment: EnvironmentResult
    comparison: Comparison | None = None
