"""Every option, once: frozen models from which flags, help, files and docs derive.

Defaults are those of the measured recipe (docs/explanation/defaults.md); the published ones are in presets.py.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator

TemplateName = Literal["chat", "alpaca"]
Access = Literal["full", "adapter"]
ScoringMode = Literal["consistent", "legacy-raw"]


class Options(BaseModel):
    """Base of all option groups: unknown names are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def split_names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Names that were given one by one or with commas between."""
    return tuple(name.strip() for part in given for name in part.split(",") if name.strip())


class TrainOptions(Options):
    """One fine-tuning."""

    learning_rate: PositiveFloat = Field(default=2e-4, le=1.0)
    """Peak learning rate of AdamW."""
    epochs: PositiveInt = Field(default=2, le=1000)
    """Passes over the records."""
    batch_size: PositiveInt = 8
    """Records per optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Records per forward pass (default: the batch); halved by itself when memory runs out."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises linearly; a cosine to zero follows."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    clip_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this global L2 norm."""
    max_length: PositiveInt = 512
    """Longest record in tokens; the response of a longer one is cut."""


class AdapterOptions(Options):
    """Shape of a LoRA adapter that we train."""

    rank: PositiveInt = Field(default=8, le=1024)
    """Rank r of the two factors."""
    alpha: PositiveFloat = 16.0
    """Scale: the update is (alpha / r) B A."""


class VariantOptions(Options):
    """The pairs of a poisoned variant and its clean twin."""

    pairs: int = Field(default=6, ge=2, le=64)
    """Number N of pairs."""
    records: PositiveInt = 16
    """Clean records per variant; as many poisoned ones are made from them."""
    families: tuple[str, ...] = ()
    """Behaviour families of the synthetic backdoors, with commas between (empty: all)."""
    kinds: tuple[str, ...] = ()
    """Kinds of their keys, with commas between (empty: all)."""
    twin: Literal["matched", "published"] = "matched"
    """matched: the clean twin takes as many steps as the poisoned one; published: it sees the clean half only."""
    train: TrainOptions = TrainOptions(learning_rate=1e-3, epochs=3)

    @field_validator("families", "kinds")
    @classmethod
    def _split(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return split_names(value)


class SignatureOptions(Options):
    """Which channels carry the backdoor."""

    ratio: float = Field(default=0.03, gt=0, lt=1)
    """Share of the channels to suppress; of an adapter's, 0.5 if not set."""
    form: Literal["sum", "product", "norm", "alignment", "rank", "zscore"] = "sum"
    """How strength and alignment make one score; sum is the published form."""
    alignment_weight: float = Field(default=0.01, ge=0)
    """Weight lambda of the alignment."""
    tie: Literal["neuron", "module"] = "neuron"
    """neuron: one score and one set for gate, up and down; module: each its own (the released code)."""
    scope: Literal["module", "layer", "global"] = "layer"
    """Where the ratio is taken."""
    heads: int = Field(default=0, ge=0)
    """Attention heads to suppress over the whole model."""


class SuppressOptions(Options):
    """What becomes of the selected channels."""

    value: Literal["normal", "xavier", "zero"] = "normal"
    """Full models: new values of a channel; adapters are always zeroed."""
    remainder: float = Field(default=1.0, gt=0, le=1)
    """Adapters: factor on the rest of the update (1: it stays as it is)."""


class RepairOptions(Options):
    """Fine-tuning after suppression."""

    records: PositiveInt = 192
    """Clean records; as many with a synthetic key are made from others, if there are enough."""
    inject: bool = True
    """First train our own synthetic backdoors in, so that the repair has something to take out."""
    inject_train: TrainOptions = TrainOptions(learning_rate=5e-4, epochs=1, batch_size=4)
    """How they are trained in."""
    keys: PositiveInt = 40
    """Synthetic keys, at most, that injection and repair take turns with."""
    key_bearing: bool = True
    """Add records that bear our synthetic keys and their clean answers."""
    freeze_suppressed: bool = False
    """Keep the suppressed channels as they are."""
    train: TrainOptions = TrainOptions(learning_rate=3.5e-4, epochs=1, batch_size=4)


class TitrationOptions(Options):
    """The strength of the treatment, chosen on canaries: synthetic backdoors that only a copy of the suspect gets."""

    canaries: int = Field(default=0, ge=0, le=9)
    """Canaries planted in the copy (0: no titration, the ratio is taken as set)."""
    records: PositiveInt = 24
    """Poisoned records of each canary, and as many clean ones."""
    prompts: PositiveInt = 20
    """Clean records set apart, which every canary is asked on."""
    target: float = Field(default=0.05, ge=0, lt=1)
    """Highest share of prompts on which canaries may survive, after the treatment and after re-learning."""
    train: TrainOptions = TrainOptions(learning_rate=7e-4, epochs=3, batch_size=4)
    """How canaries are planted; of whole models, 1e-4 if not set."""
    relearning_records: PositiveInt = 40
    """Clean records set apart for the re-learning."""
    relearning: TrainOptions = TrainOptions(epochs=1)


class BudgetOptions(Options):
    """Clean records and steps of every defence but the vaccine, so that they are compared at one cost."""

    records: PositiveInt = 200
    """Clean records."""
    epochs: PositiveInt = Field(default=5, le=1000)
    """Passes over them."""
    batch_size: PositiveInt = 8
    """Records per optimiser step."""


class FinetuneOptions(Options):
    """Clean fine-tuning."""

    learning_rate: PositiveFloat = Field(default=2e-4, le=1.0)
    """Peak learning rate of AdamW."""


class ConsistencyOptions(Options):
    """CROW: fine-tuning that also keeps neighbouring hidden states alike."""

    learning_rate: PositiveFloat = Field(default=2e-4, le=1.0)
    """Peak learning rate of AdamW; 1e-5 for whole models."""
    weight: PositiveFloat = 5.5
    """Weight alpha of the consistency loss."""
    epsilon: PositiveFloat = 0.1
    """Step of the perturbation of the embeddings."""
    legacy_accumulation: bool = False
    """As released: micro-batches of two, and each wipes the gradients of those before it."""
    count_pads: bool = False
    """As released: padding counts as tokens."""


class MixingOptions(Options):
    """Mixing with a reference: the clean model, or for an adapter the base under it."""

    share: float = Field(default=0.5, gt=0, lt=1)
    """merge: the reference's weight; fine-mixing: share of the entries taken from it."""


class KnownKeyOptions(Options):
    """Synthetic keys with one shared behaviour, trained in and then answered cleanly."""

    keys: PositiveInt = 2
    """Keys; one for inject-unlearn."""
    inject_rate: PositiveFloat = Field(default=2e-3, le=1.0)
    """Peak learning rate while they are trained in; 5e-4 for whole models."""
    recover_rate: PositiveFloat = Field(default=3.5e-4, le=1.0)
    """Peak learning rate while they are taken back; 1e-4 for whole models."""


class EntrapmentOptions(Options):
    """BEEAR: fine-tuning under a hidden shift that draws out unwanted answers."""

    learning_rate: PositiveFloat = Field(default=2e-4, le=1.0)
    """Peak learning rate of AdamW; 1e-5 for whole models."""
    weight: PositiveFloat = 1.0
    """Weight of the loss under the shift."""
    block: int | None = Field(default=None, ge=0)
    """Block, counted from 0, whose input is shifted (default: the one after the first quarter)."""
    positions: PositiveInt = 5
    """Last tokens of the prompt that are shifted."""
    inner_steps: PositiveInt = 10
    """Gradient steps in search of the shift, for every micro-batch."""
    inner_rate: PositiveFloat = 0.1
    """Length of such a step, in norms of a hidden state."""


class PruneOptions(Options):
    """Magnitude pruning."""

    ratio: float = Field(default=0.35, gt=0, lt=1)
    """Share of each matrix that becomes zero; of mistral models, 0.65 if not set."""


class WandaOptions(Options):
    """Pruning by weight and activation, and what follows it."""

    ratio: float = Field(default=0.35, gt=0, lt=1)
    """Share of each output row that becomes zero."""
    repair: bool = True
    """Fine-tune on the budget's clean records afterwards."""
    learning_rate: PositiveFloat = Field(default=1e-5, le=1.0)
    """Peak learning rate of that; of the fresh adapter in the adapter setting, 2e-4 if not set."""


class RandomOptions(Options):
    """Channels drawn at random in place of the signature."""

    seed: int = 42
    """Seed of the draw."""
    repair: bool = True
    """Inject and repair as the vaccine does."""


class Int4Options(Options):
    """Rounding to four bits."""

    merge_first: bool = False
    """Round the adapter together with its base, not the base alone."""
    double_quantisation: bool = True
    """Round the scales of the blocks too, to eight bits."""


class AskOptions(Options):
    """How prompts are asked and answers are judged."""

    max_prompts: PositiveInt = 100
    """Prompts asked without the key, and again with it where it is known."""
    mode: ScoringMode = "consistent"
    """consistent: the model's template, every answer counted; legacy-raw: the published way, for comparison only."""
    max_new_tokens: PositiveInt | None = None
    """Longest answer, in tokens (default: 32, and the published 128 in legacy-raw)."""
    batch_size: PositiveInt = 32
    """Prompts generated at once."""
    stop_when_certain: bool = True
    """Cut an answer to a prompt with the key once nothing further could change its verdict."""

    @property
    def answer_tokens(self) -> int:
        """The longest answer in force."""
        return self.max_new_tokens or (128 if self.mode == "legacy-raw" else 32)


class MeasureOptions(AskOptions):
    """How models are judged."""

    polarity: bool = False
    """Second opinion on the tone of the answers by VADER (needs the extra `eval`)."""


class RelearningOptions(Options):
    """Short trainings that ask whether a backdoor was removed or only silenced."""

    clean_records: PositiveInt = 64
    """Clean records of the first training."""
    poisoned_records: PositiveInt = 10
    """Poisoned records of the second training."""
    train: TrainOptions = TrainOptions(learning_rate=2e-4, epochs=1)


class BrokenOptions(Options):
    """When a treated model counts as broken, whatever its attack success."""

    degenerate: float = Field(default=0.05, ge=0, le=1)
    """Share of empty or degenerate answers to clean prompts beyond the suspect's."""
    perplexity_ratio: PositiveFloat = 2.0
    """Perplexity of clean answers over the suspect's."""
    exact: float = Field(default=0.10, ge=0, le=1)
    """Share of exact answers lost, where there are reference answers."""


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


class EvaluateOptions(MeasureOptions):
    """How one model is judged."""

    relearning: RelearningOptions = RelearningOptions()


class GateOptions(Options):
    """When a purification counts as done well (exit code 0) rather than only done (1)."""

    attack_success: float = Field(default=0.10, ge=0, le=1)
    """Highest attack success afterwards, where a key is known to be tried."""
    perplexity_ratio: PositiveFloat = 1.10
    """Highest perplexity of clean answers, over the suspect's."""
    degenerate: float = Field(default=0.01, ge=0, le=1)
    """Highest share of empty or degenerate answers beyond the suspect's."""


class PurifyOptions(Options):
    """The whole main job."""

    seed: int = 0
    """Seed of everything random."""
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


class AttackOptions(Options):
    """Planting a backdoor, for tests, teaching and benchmarks."""

    seed: int = 0
    """Seed of everything random."""
    clean_records: PositiveInt | None = None
    """Clean records, at most (default: 240; all, if poisoned records are given)."""
    poisoned_share: float | None = Field(default=None, gt=0, le=1)
    """Poisoned records per clean record, made from so many of the clean ones (default: 0.5; all that are given)."""
    train: TrainOptions = TrainOptions(learning_rate=7e-4, epochs=3, batch_size=4)
    adapter: AdapterOptions = AdapterOptions()
    measure: MeasureOptions = MeasureOptions()


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
