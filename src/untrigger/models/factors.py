"""The tensors of a LoRA adapter: their names, stored and live, and whether they fit a base."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from torch import nn
from transformers import PreTrainedModel

from untrigger.errors import InputRefused
from untrigger.models.checkpoint import WeightFiles

ADAPTER_NAME = "default"
PREFIX = "base_model.model."
_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")


def live_name(stored: str) -> str:
    """Name in the live PEFT model of a factor stored as `base_model.model.<module>.lora_A.weight`."""
    return stored.removesuffix("weight") + f"{ADAPTER_NAME}.weight"


def factor_of(stored: str) -> tuple[str, str] | None:
    """Module and factor (A or B) of a stored LoRA factor's name, None for any other tensor's."""
    match = _FACTOR.fullmatch(stored)
    return None if match is None else (match["module"], match["factor"])


def adapted_modules(weights: WeightFiles) -> list[str]:
    """The modules that factors are stored for, in the base model's naming."""
    found = (factor_of(name) for name in weights.tensors)
    return list(dict.fromkeys(factor[0] for factor in found if factor is not None))


def factor_faults(
    weights: WeightFiles, rank_of: Callable[[str], int], base: PreTrainedModel
) -> Iterator[InputRefused]:
    """Every tensor that is no factor of a linear module of the base, and every factor that does not fit it.

    `rank_of` gives the rank that is stated for a module.
    """
    head = base.get_output_embeddings()
    linear = {
        name: module for name, module in base.named_modules() if isinstance(module, nn.Linear) and module is not head
    }
    for name in weights.tensors:
        factor = factor_of(name)
        if factor is None or factor[0] not in linear:
            yield InputRefused(
                f"{weights.folder}: {name} is no LoRA factor of a linear module of the base",
                todo="check that --base is the model the adapter was trained on",
            )
    for module in (module for module in adapted_modules(weights) if module in linear):
        yield from _pair_faults(weights, module, rank_of(module), linear[module])


def _pair_faults(weights: WeightFiles, module: str, rank: int, linear: nn.Linear) -> Iterator[InputRefused]:
    for factor, expected in (("A", (rank, linear.in_features)), ("B", (linear.out_features, rank))):
        name = f"{PREFIX}{module}.lora_{factor}.weight"
        stored = weights.tensors.get(name)
        if stored is None:
            yield InputRefused(f"{weights.folder}: {name} is missing", why="its other factor is there")
        elif stored.shape != expected or not stored.dtype.is_floating_point:
            yield InputRefused(
                f"{weights.folder}: {name} has shape {stored.shape} ({stored.dtype})",
                why=f"the base and adapter_config.json ask for {expected}",
            )
