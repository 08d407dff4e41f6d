"""The stage that takes sentences found by target inversion out of the suspect, in rounds."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file

from untrigger.config import UnlearningOptions
from untrigger.defences.interface import Resources
from untrigger.defences.phases import WEIGHTS
from untrigger.inversion.soft_keys import Frame
from untrigger.inversion.targets import Target
from untrigger.inversion.unlearning import SoftKey, Unlearning, soft_keys
from untrigger.models.state import restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import training_hooks
from untrigger.runs import RunFolder
from untrigger.train import train

KEYS = "keys.safetensors"


def unlearned(subject: Subject, resources: Resources, targets: Sequence[Target], options: UnlearningOptions) -> Path:
    """The file of weights after the unlearning of the targets, a stage; begins with the suspect's own weights.

    Rounds that are finished lie in the stage's scratch folder, each with the keys of all rounds before it.

    Raises:
        Interrupted, Diverged, OutOfMemory: from searches and trainings.
    """

    def build(work: Path) -> int:
        course = _Course(subject, resources, tuple(targets), options)
        rounds = RunFolder(work / "scratch" / "rounds")
        done = max((number for number in range(1, course.rounds + 1) if rounds.finished(_round(number))), default=0)
        for number in range(done + 1, course.rounds + 1):
            before = rounds.path / _round(number - 1)
            rounds.stage(_round(number), partial(course.round, number, before))
            shutil.rmtree(before, ignore_errors=True)
        (rounds.path / _round(course.rounds) / WEIGHTS).rename(work / WEIGHTS)
        return course.tokens

    return resources.run.stage("unlearning", build) / WEIGHTS


def _round(number: int) -> str:
    return f"round-{number}"


class _Course:
    """What the rounds of an unlearning share; rounds count from 1."""

    def __init__(
        self, subject: Subject, resources: Resources, targets: tuple[Target, ...], options: UnlearningOptions
    ) -> None:
        count = min(options.records, len(resources.clean))
        records = random.Random(f"unlearning/{resources.seed}").sample(list(resources.clean), count)
        self.subject, self.resources, self.targets, self.options = subject, resources, targets, options
        self.examples = [resources.chat.encode(record, options.train.max_length) for record in records]
        self.frame = Frame.of([example.prompt for example in self.examples])
        self.rounds = min(options.rounds, count)

    @property
    def tokens(self) -> int:
        """Tokens of all rounds: each record is passed as it is, with a key, and up to a sentence's first token."""
        passes = (3 * len(one.prompt) + 2 * len(one.response) + self.options.vectors + 1 for one in self.examples)
        return self.options.train.epochs * sum(passes)

    def round(self, number: int, before: Path, work: Path) -> int:
        """Searches keys in the model that the round `before` left, or in the suspect, and trains against them."""
        restore_weights(self.subject, before / WEIGHTS if number > 1 else self.resources.start)
        new = self._searched(number)
        keys = (*(_load_keys(before) if number > 1 else ()), *new)
        seed, breaks = self.resources.seed + number, number > self.rounds - self.options.breaking_rounds
        softcap = self.subject.architecture.logit_softcap
        outcome = train(
            self.subject.model,
            self.examples[number - 1 :: self.rounds],
            self.options.train,
            seed=seed,
            softcap=softcap,
            penalty=Unlearning(self.targets, keys, len(new), breaks, self.options, self.frame, softcap, seed),
            hooks=training_hooks(
                self.resources.observer, f"unlearning {number}/{self.rounds}", work / "scratch" / "state"
            ),
        )
        save_weights(self.subject, work / WEIGHTS)
        save_file({str(index): key for index, key in enumerate(keys)}, str(work / KEYS))
        return outcome.tokens

    def _searched(self, number: int) -> list[SoftKey]:
        first = (number - 1) * self.options.keys
        turns = [self.targets[turn % len(self.targets)] for turn in range(first, first + self.options.keys)]
        return soft_keys(
            self.subject.model,
            self.examples,
            self.frame,
            turns,
            self.options,
            softcap=self.subject.architecture.logit_softcap,
            seed=f"{self.resources.seed}/{number}",
        )


def _load_keys(folder: Path) -> list[SoftKey]:
    held = load_file(str(folder / KEYS))
    return [held[str(index)] for index in range(len(held))]
