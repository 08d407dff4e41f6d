"""Trainings of a defence as stages of the run folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from untrigger.config import BudgetOptions, PurifyOptions, TrainOptions
from untrigger.data.records import Record
from untrigger.defences.interface import Resources
from untrigger.models.state import restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import training_hooks
from untrigger.runs import RunFolder
from untrigger.train import Penalty
from untrigger.treatment import fine_tune

WEIGHTS = "weights.safetensors"


def trained(
    subject: Subject,
    resources: Resources,
    stage: str,
    records: Sequence[Record],
    options: TrainOptions,
    *,
    prepare: Callable[[], None],
    frozen: Mapping[str, Tensor] | None = None,
    penalty: Penalty | None = None,
    before_step: Callable[[Path, int], None] | None = None,
) -> Path:
    """The file of weights after a training that begins where `prepare` puts the subject; not trained twice.

    `before_step` is called with a folder, which an interruption leaves as it is, and the number of the step that
    follows. The subject is left in no particular state: restore the weights.
    """

    def build(work: Path) -> int:
        prepare()
        hooks = training_hooks(resources.observer, stage, work / "scratch" / "state")
        if before_step is not None:
            hooks = replace(hooks, before_step=partial(before_step, work / "scratch"))
        tokens = fine_tune(
            subject,
            resources.chat,
            records,
            options,
            seed=resources.seed,
            frozen=frozen or {},
            penalty=penalty,
            hooks=hooks,
        )
        save_weights(subject, work / WEIGHTS)
        return tokens

    return resources.run.stage(stage, build) / WEIGHTS


def fresh_adapter(tuned: Subject, run: RunFolder, stage: str) -> Path:
    """The file of a fresh adapter's weights, which every training through it begins with."""

    def save(work: Path) -> int:
        save_weights(tuned, work / WEIGHTS)
        return 0

    return run.stage(stage, save) / WEIGHTS


def suspect_again(subject: Subject, resources: Resources) -> Callable[[], None]:
    """A preparation that puts the suspect's weights back."""
    return lambda: restore_weights(subject, resources.start)


def budget_records(resources: Resources, budget: BudgetOptions) -> list[Record]:
    """The clean records that every rival trains on: the same ones, in the same order, for the same seed."""
    count = min(budget.records, len(resources.clean))
    return random.Random(f"budget/{resources.seed}").sample(list(resources.clean), count)


def budget_training(budget: BudgetOptions, learning_rate: float) -> TrainOptions:
    """The recipe that every rival trains by."""
    return TrainOptions(learning_rate=learning_rate, epochs=budget.epochs, batch_size=budget.batch_size)


def train_on_budget(
    subject: Subject,
    resources: Resources,
    stage: str,
    options: PurifyOptions,
    learning_rate: float,
    *,
    prepare: Callable[[], None],
) -> None:
    """Leaves the subject as the budget's training makes it, which begins where `prepare` puts it; a stage."""
    records, recipe = budget_records(resources, options.budget), budget_training(options.budget, learning_rate)
    restore_weights(subject, trained(subject, resources, stage, records, recipe, prepare=prepare))
