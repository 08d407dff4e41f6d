"""A fresh LoRA adapter on a whole model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from peft import LoraConfig, TaskType, get_peft_model

from untrigger.config import AdapterOptions
from untrigger.models.fused_adapter import fuse
from untrigger.models.state import open_for_training
from untrigger.models.subject import Subject


def with_new_adapter(subject: Subject, options: AdapterOptions, seed: int) -> Subject:
    """The subject with a fresh LoRA adapter on every projection of its blocks (B = 0: it computes the same)."""
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        target_modules=list(subject.architecture.lora_targets()),
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers through a name that is being renamed
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        torch.manual_seed(seed)
        model = get_peft_model(subject.model, fuse(config))
    return replace(subject, model=model, access="adapter")


@contextmanager
def through_adapter(subject: Subject, options: AdapterOptions, seed: int, *, merged: bool) -> Iterator[Subject]:
    """A whole model with a fresh adapter on it; afterwards the adapter's update is merged into the weights, or lost.

    An exception loses the update, so that the weights are what they were. What is trained through it costs the memory
    of the adapter's gradients and moments, not of all weights'.
    """
    tuned = with_new_adapter(subject, options, seed)
    done = False
    try:
        yield tuned
        done = True
    finally:
        if done and merged:
            tuned.model.merge_and_unload()
        else:
            tuned.model.unload()
        open_for_training(subject)
