"""The weights that training may change: switched on, kept on disk, put back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from untrigger.files import sync
from untrigger.models.blocks import blocks
from untrigger.models.subject import Subject


def open_for_training(subject: Subject) -> None:
    """Lets gradients reach every weight (full) or the adapter's factors alone (adapter)."""
    for name, parameter in subject.model.named_parameters():
        parameter.requires_grad_(subject.access == "full" or ".lora_" in name)


def embeddings_of(model: PreTrainedModel | PeftModel) -> list[nn.Module]:
    """The token embeddings and the output layer, a fifth of a small model's weights."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [layer for layer in layers if layer is not None]


def first_blocks_of(model: PreTrainedModel | PeftModel, last: float) -> list[nn.Module]:
    """The blocks in front of the last, of which there is one at least for any share."""
    every = blocks(model)
    return every[: len(every) - max(1, round(last * len(every)))]


@contextmanager
def held(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it no gradient reaches the parameters of these modules."""
    every = dict.fromkeys(parameter for module in modules for parameter in module.parameters())
    closed = [parameter for parameter in every if parameter.requires_grad]
    for parameter in closed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in closed:
            parameter.requires_grad_(True)


def save_weights(subject: Subject, path: Path, names: Collection[str] | None = None) -> None:
    """Writes the trainable weights (or those named) as safetensors; the file appears whole or not at all."""
    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in subject.model.named_parameters()
        if (parameter.requires_grad if names is None else name in names)
    }
    fresh = path.with_name(path.name + ".new")
    save_file(tensors, str(fresh))
    sync(fresh)
    fresh.rename(path)
    sync(path.parent)


@torch.no_grad()
def move_towards(subject: Subject, path: Path, share: float) -> None:
    """Moves the weights so much of the way to saved ones: 1 puts those in their place, more goes beyond them."""
    parameters = dict(subject.model.named_parameters())
    with safe_open(str(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            parameter = parameters[name]
            parameter.lerp_(file.get_tensor(name).to(parameter.device), share)


@torch.no_grad()
def restore_weights(subject: Subject, path: Path) -> None:
    """Puts saved weights back, one tensor at a time."""
    parameters = dict(subject.model.named_parameters())
    with safe_open(str(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            parameters[name].copy_(file.get_tensor(name))
