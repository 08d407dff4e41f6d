"""The other defences."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from untrigger.config.base import Options


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
    search_records: PositiveInt = 8
    """Records that a search for the shift sees."""
    inner_steps: PositiveInt = 10
    """Gradient steps of a search."""
    inner_rate: PositiveFloat = 0.1
    """Length of such a step, in norms of a hidden state."""
    outer_steps: PositiveInt = 10
    """Training steps under one shift, before the next search."""


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
