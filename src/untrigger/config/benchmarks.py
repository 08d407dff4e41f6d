"""The benchmarks of utility."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from untrigger.config.base import Options, split_names


class UtilityOptions(Options):
    """The ten utility benchmarks."""

    profile: Literal["smoke", "quick", "standard", "full"] = "quick"
    """Items a task: 8; 200, without gsm8k; 1000, of gsm8k 200; all. The same ones in every run."""
    tasks: tuple[str, ...] = ()
    """Tasks by name, with commas between (default: those of the profile)."""
    batch_size: PositiveInt = 8
    """Requests computed at once; keep it the same for models that are compared."""
    max_length: PositiveInt = 2048
    """Longest prompt with its answer, in tokens, at most what the model takes; longer ones lose their beginning."""
    max_new_tokens: PositiveInt = 512
    """Longest answer to gsm8k, in tokens."""
    template: Literal["generation", "none", "all"] = "generation"
    """Where the model's chat template is put around: what the model writes (gsm8k), nothing, or every task."""
    budget: PositiveFloat = Field(default=2.0, le=100)
    """Points that the average may have lost against the other model."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap; which items are asked does not depend on it."""

    @field_validator("tasks")
    @classmethod
    def _split(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return split_names(value)


class HumanEvalOptions(Options):
    """How a model's code is asked for and run."""

    max_new_tokens: PositiveInt = 512
    """Longest answer, in tokens."""
    batch_size: PositiveInt = 8
    """Problems answered at once."""
    seconds: float = Field(default=10.0, gt=0, le=600)
    """Longest run of one program; it counts as a timeout beyond."""


class JudgeOptions(Options):
    """How a language model is asked to judge answers; the defaults are those of the published MT-Bench."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    """Temperature of the judge."""
    max_tokens: PositiveInt = 2048
    """Longest judgement, in tokens."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name under which the server takes the longest length."""
    fold_system: bool = False
    """Put the system text in front of the user message, for judges without a system role."""
    timeout: PositiveFloat = 180.0
    """Seconds until a call is given up."""
    retries: int = Field(default=5, ge=0, le=100)
    """Further attempts after 429, 5xx, a time-out or a broken reply."""
    backoff: float = Field(default=1.0, ge=0, le=60)
    """Seconds before the first retry, doubled each time."""
    patience: PositiveFloat = 900.0
    """Seconds for a judgement with all its retries."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Calls at once."""
    cache: bool = True
    """Keep replies in the user's cache, and take them from there."""


class MtBenchOptions(Options):
    """How MT-Bench is answered and judged."""

    seed: int = 0
    """Seed of the sampled answers and of the intervals."""
    max_new_tokens: PositiveInt = 1024
    """Longest answer, in tokens."""
    batch_size: PositiveInt = 8
    """Questions answered at once."""
    limit: int | None = Field(default=None, ge=1, le=10)
    """Only so many questions of each category: a trial, no MT-Bench score."""
    judge: JudgeOptions = JudgeOptions()
