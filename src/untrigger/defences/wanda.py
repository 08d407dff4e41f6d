"""Fine-pruning of language models: Wanda (arXiv 2306.11695), then training on clean records.

Wanda calibrates on 128 windows of the C4 corpus; here the budget's clean records serve, in the model's template with
their answers, so that every rival sees the same data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from untrigger.config import AdapterOptions, PurifyOptions
from untrigger.defences.calibration import prune_by_activation_
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import WEIGHTS, budget_records, budget_training, train_on_budget
from untrigger.models.merge import whole_subject
from untrigger.models.new_adapter import with_new_adapter
from untrigger.models.state import open_for_training, restore_weights, save_weights
from untrigger.models.subject import Subject


def wanda(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Prunes by weight and activation, then fine-tunes; an adapter is merged first.

    A whole model is trained as a whole. In the adapter setting a fresh adapter of rank 8 is trained on the pruned
    model and merged in the end. In both, zeros may grow again, as they do in the published code.

    Raises:
        Interrupted, Diverged, OutOfMemory: from pruning and training.
    """
    adapter = subject.access == "adapter"
    whole = whole_subject(subject)
    open_for_training(whole)
    restore_weights(whole, _pruned(whole, resources, options))
    if not options.wanda.repair:
        return Treated(whole)
    learner = with_new_adapter(whole, AdapterOptions(), resources.seed) if adapter else whole
    open_for_training(learner)
    rate = options.wanda.learning_rate
    train_on_budget(learner, resources, "fine-tuning", options, rate, prepare=lambda: None)  # it is pruned already
    return Treated(replace(whole, model=learner.model.merge_and_unload().eval()) if adapter else whole)


def _pruned(whole: Subject, resources: Resources, options: PurifyOptions) -> Path:
    records = budget_records(resources, options.budget)
    longest = budget_training(options.budget, options.wanda.learning_rate).max_length

    def build(work: Path) -> int:
        examples = [resources.chat.encode(record, longest) for record in records]
        texts = [torch.tensor([*example.prompt, *example.response]) for example in examples]
        prune_by_activation_(whole.model, texts, options.wanda.ratio, resources.observer)
        save_weights(whole, work / WEIGHTS)
        return 0

    return resources.run.stage("pruning", build) / WEIGHTS
