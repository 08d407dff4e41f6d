"""A fresh adapter in the suspect's place, trained on clean records: a control that no key outlives.

Nothing of the suspect's weights is kept. What the new adapter knows of it stands in the clean records, which are the
suspect's own answers where the user gives none.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import train_on_budget
from untrigger.models.subject import Subject

_BASE = "What the base model under the adapter says is not changed, nor was it looked at."
_LOST = "The new adapter knows what the clean records show; whatever else the suspect had learned is gone."


def new_adapter(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Trains an adapter of the suspect's shape on the budget's clean records, from its initialisation."""
    rate = options.finetune.learning_rate
    train_on_budget(
        subject, resources, "new-adapter", options, rate, prepare=lambda: draw_anew_(subject, resources.seed)
    )
    return Treated(subject, limits=(_BASE, _LOST))


@torch.no_grad()
def draw_anew_(subject: Subject, seed: int) -> None:
    """Gives an adapter the values it has before any training: lora_B zero, lora_A drawn as peft does; in place."""
    for name, parameter in subject.model.named_parameters():
        if ".lora_B." in name:
            parameter.zero_()
        elif ".lora_A." in name:
            parameter.copy_(_drawn(parameter, f"new adapter/{seed}/{name}"))


def _drawn(parameter: Tensor, seed: str) -> Tensor:
    """Uniform within 1 / sqrt(inputs), which is Kaiming's bound for peft's slope."""
    generator = torch.Generator().manual_seed(random.Random(seed).getrandbits(63))
    return nn.init.kaiming_uniform_(torch.empty(parameter.shape), a=5**0.5, generator=generator)
