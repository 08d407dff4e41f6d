"""Clean fine-tuning: nothing but more training on clean records."""

from __future__ import annotations

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import suspect_again, train_on_budget
from untrigger.models.subject import Subject


def finetune(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Trains the suspect on the budget's clean records at the given rate."""
    rate, prepare = options.finetune.learning_rate, suspect_again(subject, resources)
    train_on_budget(subject, resources, "fine-tuning", options, rate, prepare=prepare)
    return Treated(subject)
