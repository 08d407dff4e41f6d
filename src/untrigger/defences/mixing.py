"""Mixing with a clean model: linear merging, and fine-mixing (EMNLP 2022 Findings, arXiv 2210.09545).

The clean model of an adapter is the base under it: there the update is zero, so that no reference is needed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import train_on_budget
from untrigger.errors import UsageError
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.suppress import scale_adapter_


def merge(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """(1 - share) suspect + share reference, weight by weight; an adapter's update is scaled by 1 - share.

    Raises:
        UsageError: a whole model without a reference.
    """
    merge_(subject, resources.reference, options.mixing.share)
    return Treated(subject)


@torch.no_grad()
def merge_(subject: Subject, reference: Subject | None, share: float) -> None:
    """Moves every weight this share of the way to the clean model's, in place; an adapter's update is scaled.

    Raises:
        UsageError: a whole model without a reference.
    """
    if subject.access == "adapter":
        scale_adapter_(subject.model, 1 - share)
        return
    for entry in _paired(subject, reference):
        entry.suspect.lerp_(entry.clean.to(entry.suspect), share)


def fine_mixing(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Mixes entries at random with the clean model's, then trains on the budget's clean records.

    Raises:
        UsageError: a whole model without a reference.
    """

    def mixed() -> None:
        restore_weights(subject, resources.start)
        mix_(subject, resources.reference, options.mixing.share, resources.seed)

    train_on_budget(subject, resources, "fine-mixing", options, options.finetune.learning_rate, prepare=mixed)
    return Treated(subject)


@torch.no_grad()
def mix_(subject: Subject, reference: Subject | None, share: float, seed: int) -> None:
    """Takes each entry from the clean model with probability `share`, in place.

    The publication keeps so many entries of the whole model; here each is drawn alone, which differs by chance only.
    Of an adapter the entries of lora_B are drawn: they are zero before training, while lora_A has no clean value.

    Raises:
        UsageError: as `merge`.
    """
    for entry in _paired(subject, reference):
        taken = drawn(entry.suspect, entry.name, share, seed)
        entry.suspect.copy_(torch.where(taken, entry.clean.to(entry.suspect), entry.suspect))


def drawn(parameter: Tensor, name: str, share: float, seed: int) -> Bool[Tensor, "..."]:
    """A mask of the parameter's shape, True with probability `share`; it depends on seed and name alone."""
    generator = torch.Generator().manual_seed(random.Random(f"fine-mixing/{seed}/{name}").getrandbits(63))
    return (torch.rand(parameter.shape, generator=generator) < share).to(parameter.device)


@dataclass(frozen=True)
class _Entry:
    """A weight of the suspect and its clean value."""

    name: str
    suspect: nn.Parameter
    clean: Tensor


def _paired(subject: Subject, reference: Subject | None) -> Iterator[_Entry]:
    if subject.access == "adapter":
        return (_Entry(n, p, torch.zeros(())) for n, p in subject.model.named_parameters() if ".lora_B." in n)
    if reference is None:
        raise UsageError("a whole model is mixed with a reference", todo="name a clean model with --reference")
    clean = dict(reference.model.named_parameters())
    return (_Entry(name, parameter, clean[name]) for name, parameter in subject.model.named_parameters())
