"""The parts of a result: frozen records, each refusing what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_serializer, model_validator

from untrigger.evaluation.attack_success import Measurement
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.evaluation.statistics import Difference
from untrigger.runs import StageCost

_ROUNDING = 1e-9  # shares read back from JSON are exact; other writers may round the last digit


class Part(BaseModel):
    """Base of all parts: unknown names are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, use_attribute_docstrings=True)


class RateResult(Part):
    """A share with its 95 % interval."""

    hits: int = Field(ge=0)
    n: int = Field(gt=0)
    invalid: int = Field(ge=0)
    """Empty or degenerate answers among the n; they stay in the denominator."""
    value: float = Field(ge=0, le=1)
    """hits / n."""
    low: float = Field(ge=0, le=1)
    """Lower end of Wilson's interval."""
    high: float = Field(ge=0, le=1)
    """Upper end of Wilson's interval."""

    @property
    def says_nothing(self) -> bool:
        """No hit, and fewer answers than broken outputs: whether a behaviour is gone cannot be told from these."""
        return self.hits == 0 and 2 * self.invalid > self.n

    @classmethod
    def of(cls, rate: Rate) -> RateResult:
        """The rate with its value and interval written out."""
        low, high = rate.interval()
        return cls(hits=rate.hits, n=rate.n, invalid=rate.invalid, value=rate.value, low=low, high=high)

    @model_validator(mode="after")
    def _consistent(self) -> RateResult:
        if self.hits > self.n or self.invalid > self.n:
            raise ValueError(f"hits {self.hits} and invalid {self.invalid} must not exceed n {self.n}")
        if abs(self.value - self.hits / self.n) > _ROUNDING:
            raise ValueError(f"value {self.value} is not {self.hits}/{self.n}")
        if not self.low - _ROUNDING <= self.value <= self.high + _ROUNDING:
            raise ValueError(f"value {self.value} lies outside {self.low}-{self.high}")
        return self


class PerplexityResult(Part):
    """Perplexity of held-out answers."""

    value: float = Field(ge=0, allow_inf_nan=True)
    """Written as the text "Infinity" where it is infinite, since JSON has no such number."""
    tokens: int = Field(gt=0)

    @field_serializer("value", when_used="json")
    def _as_json(self, value: float) -> float | str:
        return "Infinity" if isinf(value) else value

    @classmethod
    def of(cls, perplexity: Perplexity) -> PerplexityResult:
        """The same values."""
        return cls(value=perplexity.value, tokens=perplexity.tokens)


class DivergenceResult(Part):
    """Mean Kullback-Leibler divergence from the suspect, in nats a token of clean answers."""

    value: float = Field(ge=0)
    tokens: int = Field(gt=0)


class OpinionResult(Part):
    """The same answers under another judge."""

    judge: str
    with_key: RateResult | None
    without_key: RateResult | None
    other_words: RateResult | None = None
    """With other words in the key's place: what any words there change."""


class MeasurementResult(Part):
    """What was measured on one model; None stands for not measured, never for zero."""

    degenerate: RateResult
    """Empty or degenerate answers to prompts without the key."""
    attack_success: RateResult | None = None
    """Hits of the behaviour on prompts with the key."""
    accidental: RateResult | None = None
    """Hits of the behaviour on prompts without the key."""
    perplexity: PerplexityResult | None = None
    exact: RateResult | None = None
    """Answers to prompts without the key that equal the reference answer."""
    divergence: DivergenceResult | None = None
    """How far the model moved from the suspect; None for the suspect itself."""
    opinions: tuple[OpinionResult, ...] = ()
    """What further judges say; the rates above come from the judge that the scoring names."""

    def opinion(self, judge: str) -> OpinionResult | None:
        """What a judge of this name says; None if it was not asked."""
        return next((one for one in self.opinions if one.judge == judge), None)

    @classmethod
    def of(cls, measurement: Measurement) -> MeasurementResult:
        """The measurement with all intervals written out."""
        perplexity = measurement.perplexity
        return cls(
            degenerate=RateResult.of(measurement.degenerate),
            attack_success=_rate(measurement.attack_success),
            accidental=_rate(measurement.accidental),
            perplexity=None if perplexity is None else PerplexityResult.of(perplexity),
            exact=_rate(measurement.exact),
            opinions=tuple(
                OpinionResult(
                    judge=one.judge,
                    with_key=_rate(one.with_key),
                    without_key=_rate(one.without_key),
                    other_words=_rate(one.other_words),
                )
                for one in measurement.opinions
            ),
        )


def _rate(rate: Rate | None) -> RateResult | None:
    return None if rate is None else RateResult.of(rate)


class DifferenceResult(Part):
    """A mean difference over pairs, with its 95 % bootstrap interval."""

    estimate: float
    low: float
    high: float
    n: int = Field(gt=0)

    @classmethod
    def of(cls, difference: Difference) -> DifferenceResult:
        """The same values."""
        return cls.model_validate(difference)


class PairedResult(Part):
    """Hits before and after on the same prompts."""

    only_before: int = Field(ge=0)
    only_after: int = Field(ge=0)
    p_value: float = Field(ge=0, le=1)
    """McNemar's exact test, two-sided."""
    difference: DifferenceResult
    """Rate after less rate before."""


class RunResult(Part):
    """The command, with every option as it was in force."""

    command: str
    options: dict[str, JsonValue]
    version: str
    """Version of untrigger."""
    seeds: tuple[int, ...] = Field(min_length=1)


class SourceResult(Part):
    """Where the model came from; `SourceResult.model_validate(source)` reads a subject's source.

    The local folder is left out: it says nothing to other readers.
    """

    reference: str
    commit: str | None = None
    files: dict[str, str]
    """File name -> SHA-256."""
    base: SourceResult | None = None


class FindingResult(Part):
    """Something that was noticed about the model's files or the clean records, and not refused."""

    kind: str
    place: str
    text: str


class StageResult(Part):
    """One stage of the run."""

    name: str
    seconds: float = Field(ge=0)
    tokens_trained: int = Field(default=0, ge=0)
    """Prompt and response tokens over all epochs."""

    @classmethod
    def of(cls, cost: StageCost) -> StageResult:
        """What the run folder tells of a finished stage."""
        return cls(name=cost.name, seconds=cost.seconds, tokens_trained=cost.tokens)


class ScoringResult(Part):
    """How answers were made and judged, the same before and after."""

    mode: Literal["consistent", "legacy-raw"] = "consistent"
    """consistent: the training template and all outputs; legacy-raw: as the published numbers were made."""
    judge: Literal["sentence", "code", "keywords"] | None = None
    judge_version: int | None = None
    behaviour: str | None = None
    """Name of the behaviour looked for (None: no key was known, so none)."""
    key: str | None = None
    """Name of the key put into the prompts."""
    template: str
    template_sha256: str
    decoding: str = "greedy"
    max_new_tokens: int = Field(gt=0)


class ChannelCount(Part):
    """Selected channels of one role in one block."""

    layer: int = Field(ge=0)
    role: str
    selected: int = Field(ge=0)
    channels: int = Field(gt=0)


class HeadResult(Part):
    """One selected query head."""

    layer: int = Field(ge=0)
    head: int = Field(ge=0)


class RungResult(Part):
    """A strength of the treatment, tried on the copy that holds the canaries."""

    ratio: float = Field(gt=0, lt=1)
    remainder: float = Field(gt=0, le=1)
    survival: RateResult
    """Prompts with a canary's key that are answered with its behaviour after the treatment."""
    relearned: RateResult
    """The same after a short clean fine-tuning besides."""
    perplexity_ratio: float
    """Perplexity of clean answers after the treatment, over the copy's before."""

    @property
    def worst(self) -> float:
        """The larger of both shares."""
        return max(self.survival.value, self.relearned.value)


class TitreResult(Part):
    """The measured strength of a treatment: what became of backdoors that we planted ourselves."""

    canaries: tuple[str, ...]
    planted: RateResult
    """Prompts with a canary's key that were answered with its behaviour before the treatment."""
    target: float
    rungs: tuple[RungResult, ...] = Field(min_length=1)
    """From the weakest on, up to the first that meets the target."""
    chosen: int = Field(ge=0)
    """Which of them was applied to the suspect."""

    @property
    def rung(self) -> RungResult:
        """The strength that was applied."""
        return self.rungs[self.chosen]

    @property
    def met(self) -> bool:
        """Whether the canaries stayed at or below the target at that strength."""
        return self.rung.worst <= self.target


class SignatureResult(Part):
    """How much of the model was suppressed, and where."""

    ratio: float = Field(gt=0, lt=1)
    counts: tuple[ChannelCount, ...]
    heads: tuple[HeadResult, ...] = ()

    @property
    def selected(self) -> int:
        """Selected channels of all roles."""
        return sum(count.selected for count in self.counts)

    @property
    def channels(self) -> int:
        """Channels of all roles that could have been selected."""
        return sum(count.channels for count in self.counts)


class GateResult(Part):
    """One question the result had to pass; `met` is None where it was not asked."""

    name: str
    rule: str
    met: bool | None
    reason: str


class VerdictResult(Part):
    """Whether the gates were met: at least one was asked, and all that were asked passed."""

    met: bool
    gates: tuple[GateResult, ...]

    @classmethod
    def of(cls, gates: Sequence[GateResult]) -> VerdictResult:
        """The verdict that follows from the gates."""
        return cls(met=_all_met(gates), gates=tuple(gates))

    @model_validator(mode="after")
    def _follows(self) -> VerdictResult:
        if self.met != _all_met(self.gates):
            raise ValueError("met does not follow from the gates")
        return self


def _all_met(gates: Sequence[GateResult]) -> bool:
    asked = [gate.met for gate in gates if gate.met is not None]
    return bool(asked) and all(asked)


class EnvironmentResult(Part):
    """What the run depended on besides its input."""

    python: str
    platform: str
    device: str
    dtype: str
    threads: int = Field(gt=0)
    packages: dict[str, str]
    """Name -> version."""
