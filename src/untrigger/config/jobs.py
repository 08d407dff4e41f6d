"""What a purification, a comparison, a planting and an analysis are told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from untrigger.config.base import AdapterOptions, Options, TrainOptions, split_names
from untrigger.config.measuring import AskOptions, BrokenOptions, GateOptions, MeasureOptions, RelearningOptions
from untrigger.config.method import (
    InversionOptions,
    RenewalOptions,
    RepairOptions,
    SignatureOptions,
    SuppressOptions,
    TitrationOptions,
    UnlearningOptions,
    VariantOptions,
)
from untrigger.config.rivals import (
    BudgetOptions,
    ConsistencyOptions,
    EntrapmentOptions,
    FinetuneOptions,
    Int4Options,
    KnownKeyOptions,
    MixingOptions,
    PruneOptions,
    RandomOptions,
    WandaOptions,
)


class PurifyOptions(Options):
    """The whole main job."""

    seed: int = 0
    """Seed of everything random."""
    inversion: InversionOptions = InversionOptions()
    unlearning: UnlearningOptions = UnlearningOptions()
    renewal: RenewalOptions = RenewalOptions()
    variants: VariantOptions = VariantOptions()
    signature: SignatureOptions = SignatureOptions()
    suppress: SuppressOptions = SuppressOptions()
    repair: RepairOptions = RepairOptions()
    titration: TitrationOptions = TitrationOptions()
    budget: BudgetOptions = BudgetOptions()
    finetune: FinetuneOptions = FinetuneOptions()
    consistency: ConsistencyOptions = ConsistencyOptions()
    mixing: MixingOptions = MixingOptions()
    known_keys: KnownKeyOptions = KnownKeyOptions()
    entrapment: EntrapmentOptions = EntrapmentOptions()
    prune: PruneOptions = PruneOptions()
    wanda: WandaOptions = WandaOptions()
    random: RandomOptions = RandomOptions()
    int4: Int4Options = Int4Options()
    measure: MeasureOptions = MeasureOptions()
    gate: GateOptions = GateOptions()


class CompareOptions(Options):
    """What is compared, besides the options of the defences themselves."""

    defences: tuple[str, ...] = ()
    """Names with commas between (default: all that fit the suspect)."""
    relearning: RelearningOptions = RelearningOptions()
    broken: BrokenOptions = BrokenOptions()

    @field_validator("defences")
    @classmethod
    def _split(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return split_names(value)


class AttackOptions(Options):
    """Planting a backdoor, for tests, teaching and benchmarks."""

    seed: int = 0
    """Seed of everything random."""
    clean_records: PositiveInt | None = None
    """Clean records, at most (default: 240; all, if poisoned records are given)."""
    poisoned_share: float | None = Field(default=None, ge=0, le=1)
    """Poisoned records per clean one, made from these (default: 0.5; all that are given); 0: none, a clean twin."""
    train: TrainOptions = TrainOptions(learning_rate=7e-4, epochs=3, batch_size=4)
    adapter: AdapterOptions = AdapterOptions()
    measure: MeasureOptions = MeasureOptions()


CHECKS = ("modules", "blocks", "shuffle", "thirds", "embeddings", "scale")


class AnalyseOptions(AskOptions):
    """Which parts of a poisoned update are taken away, one after the other."""

    max_prompts: PositiveInt = 40
    """Prompts asked with the key, and again without it, under every ablation."""
    seed: int = 0
    """Seed of the permutations and of where the key stands in the prompts."""
    checks: tuple[str, ...] = CHECKS
    """Checks by name, with commas between: modules, blocks, shuffle, thirds, embeddings, scale."""
    spans: tuple[str, ...] = ()
    """Numbers of consecutive blocks, with commas between, or every (default: 1,2,4,8,12,16,24 of 32 blocks)."""
    starts: Literal["three", "every"] = "three"
    """Where such spans lie: at the start, in the middle and at the end, or at every block."""

    @field_validator("checks")
    @classmethod
    def _known_checks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = split_names(value)
        unknown = [name for name in names if name not in CHECKS]
        if unknown or not names:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no check; there are {', '.join(CHECKS)}")
        return tuple(name for name in CHECKS if name in names)

    @field_validator("spans")
    @classmethod
    def _numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        words = split_names(value)
        wrong = [word for word in words if not (word.isdecimal() and int(word)) and words != ("every",)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: numbers from 1 on are needed, or every alone")
        return words
