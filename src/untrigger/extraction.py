"""Pairs on disk -> signature: one projection's deltas in memory at a time (arXiv 2603.13461, Eq. 1-2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from untrigger.config import SignatureOptions
from untrigger.models.adapters import scaling
from untrigger.models.architecture import ATTENTION_ROLES, MLP_ROLES, Projection
from untrigger.models.subject import Subject
from untrigger.signature.dense import gram_of
from untrigger.signature.gram import Gram
from untrigger.signature.lowrank import Factors, lowrank_gram

FACTOR = "base_model.model.{module}.lora_{factor}.default.weight"


def pair_grams(subject: Subject, pairs: Sequence[Path], options: SignatureOptions) -> dict[Projection, Gram]:
    """The Gram matrices of the pairs stored in these files, for every projection that is to be scored."""
    roles = (*MLP_ROLES, *(ATTENTION_ROLES if options.heads else ()))
    projections = subject.architecture.projections(*roles)
    return dict(
        adapter_grams(pairs, projections, scaling(subject))
        if subject.access == "adapter"
        else dense_grams(pairs, projections)
    )


def dense_grams(pairs: Sequence[Path], projections: Sequence[Projection]) -> Iterator[tuple[Projection, Gram]]:
    """Gram matrices of full-setting pairs, read lazily, block by block of channels.

    The files are opened anew for each projection: mapped pages of a file that stays open stay in memory.
    """
    for projection in projections:
        with ExitStack() as stack:
            files = [stack.enter_context(safe_open(str(pair), framework="pt")) for pair in pairs]
            slices = [file.get_slice(projection.weight) for file in files]
            gram = gram_of(slices.__getitem__, len(slices), projection)
        yield projection, gram


def adapter_grams(
    pairs: Sequence[Path], projections: Sequence[Projection], scales: Mapping[str, float]
) -> Iterator[tuple[Projection, Gram]]:
    """Gram matrices of adapter pairs from their factors; modules the adapter does not hold are passed over."""
    stored = [load_file(str(pair)) for pair in pairs]
    for projection in projections:
        if projection.module in scales:
            scale = scales[projection.module]
            twins = [
                (
                    _factors(tensors, "poisoned", projection, scale),
                    _factors(tensors, "clean", projection, scale),
                )
                for tensors in stored
            ]
            yield projection, lowrank_gram(twins, projection)


def _factors(tensors: Mapping[str, Tensor], twin: str, projection: Projection, scale: float) -> Factors:
    name = f"{twin}/{FACTOR}"
    b, a = (tensors[name.format(module=projection.module, factor=factor)] for factor in ("B", "A"))
    return Factors(b, a, scale)
