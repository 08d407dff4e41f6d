"""A fresh LoRA adapter on a whole model."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from peft import LoraConfig, TaskType, get_peft_model

from untrigger.config import AdapterOptions
from untrigger.models.fused_adapter import fuse
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
