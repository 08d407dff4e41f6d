"""What all options share, and one training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

TemplateName = Literal["chat", "alpaca"]
Access = Literal["full", "adapter"]
Effort = Literal["quick", "standard", "thorough"]
Through = Literal["weights", "adapter"]
"""What a training of a whole model moves: all its weights, or a LoRA adapter that becomes a part of them."""
ScoringMode = Literal["consistent", "legacy-raw"]
Deployed = Literal["merged", "int4", "int4-merged"]
"""An adapter merged into its base; linear modules rounded to four bits, an adapter's base alone or both together."""


class Options(BaseModel):
    """Base of all option groups: unknown names are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def split_names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Names that were given one by one or with commas between."""
    return tuple(name.strip() for part in given for name in part.split(",") if name.strip())


class TrainOptions(Options):
    """One fine-tuning."""

    optimiser: Literal["adamw", "gradient"] = "adamw"
    """adamw, or gradient: steps along the gradient, as long as AdamW's first."""
    learning_rate: PositiveFloat = Field(default=2e-4, le=1.0)
    """Peak learning rate."""
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
    embeddings: bool = True
    """Full models: train the token embeddings and the output layer as well."""
    last_blocks: float = Field(default=1.0, gt=0, le=1)
    """Share of the blocks that is trained, the last ones (1: all; 0.33 in a whole model's unlearning if not set)."""
    max_length: PositiveInt = 512
    """Longest record in tokens; the response of a longer one is cut."""

    @model_validator(mode="after")
    def _decay_is_adamws(self) -> TrainOptions:
        if self.weight_decay and self.optimiser != "adamw":
            raise ValueError("weight decay is AdamW's; leave it at 0 with the optimiser 'gradient'")
        return self


class AdapterOptions(Options):
    """Shape of a LoRA adapter that we train."""

    rank: PositiveInt = Field(default=8, le=1024)
    """Rank r of the two factors."""
    alpha: PositiveFloat = 16.0
    """Scale: the update is (alpha / r) B A."""
