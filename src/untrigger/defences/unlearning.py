"""The stage that takes sentences found by target inversion out of the suspect."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

from safetensors.torch import load_file, save_file

from untrigger.config import UnlearningOptions
from untrigger.data.records import Record
from untrigger.defences.interface import Resources
from untrigger.defences.phases import WEIGHTS
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.soft_keys import Frame, PlacedKey
from untrigger.inversion.targets import Target, principal
from untrigger.inversion.unlearning import Unlearning, soft_key
from untrigger.models.new_adapter import through_adapter
from untrigger.models.state import restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import training_hooks
from untrigger.runs import RunFolder
from untrigger.train import train

APART = 32
"""Clean records, at most, that are kept apart from the training to see what it costs; an eighth of all if fewer."""


def parted(resources: Resources, options: UnlearningOptions) -> tuple[list[Record], list[Record]]:
    """The clean records to train on, and those kept apart, of which there are none where the price is not asked."""
    clean, draw = list(resources.clean), random.Random(f"unlearning/{resources.seed}")
    if options.price == 1:
        return draw.sample(clean, min(options.records, len(clean))), []
    mixed, apart = draw.sample(clean, len(clean)), min(APART, len(clean) // 8)
    return mixed[apart:][: options.records], mixed[:apart]


def unlearned(
    subject: Subject,
    resources: Resources,
    targets: Sequence[Target],
    options: UnlearningOptions,
    stage: str,
    words: Sequence[KeyWords],
) -> Path:
    """The file of weights after the unlearning of the targets, a stage of this name; begins with the start's weights.

    `words` are those that are known to call a target.

    Raises:
        Interrupted, Diverged, OutOfMemory: from searches and the training.
    """

    def build(work: Path) -> int:
        def run(trained: Subject) -> int:
            keys = RunFolder(work / "scratch" / "keys")
            course = _Course(trained, resources, tuple(targets), options, keys, words)
            return course.run(work / "scratch" / "state")

        restore_weights(subject, resources.start)
        if subject.access == "full" and options.through == "adapter":
            with through_adapter(subject, options.adapter, resources.seed, merged=True) as tuned:
                tokens = run(tuned)
        else:
            tokens = run(subject)
        save_weights(subject, work / WEIGHTS)
        return tokens

    return resources.run.stage(stage, build) / WEIGHTS


class _Course:
    """One training, whose steps are parted into rounds; each round, counted from 0, begins with a search for keys.

    Keys that were found lie in a run folder of their own, so that a training that goes on after an interruption has
    those of the rounds before it.
    """

    def __init__(
        self,
        subject: Subject,
        resources: Resources,
        targets: tuple[Target, ...],
        options: UnlearningOptions,
        found: RunFolder,
        words: Sequence[KeyWords],
    ) -> None:
        records, _ = parted(resources, options)
        self._subject, self._resources, self._targets, self._options = subject, resources, targets, options
        self._examples = [resources.chat.encode(record, options.train.max_length) for record in records]
        self._frame = Frame.of([example.prompt for example in self._examples])
        self._found, self._softcap = found, subject.architecture.logit_softcap
        known = tuple(one.placed(subject.model) for one in words)
        self._leading = options.leading if any(one.leading for one in words) else 0.0
        self._penalty = Unlearning(targets, options, self._frame, self._softcap, resources.seed, words=known)
        steps = options.train.epochs * ceil(len(records) / options.train.batch_size)
        self._round_steps = ceil(steps / options.rounds)
        self._rounds = ceil(steps / self._round_steps)

    def run(self, state: Path) -> int:
        """Trains; returns the tokens passed: each record, and every other one with a key or a first token."""
        hooks = training_hooks(self._resources.observer, "unlearning", state)
        outcome = train(
            self._subject.model,
            self._examples,
            self._options.train,
            seed=self._resources.seed,
            softcap=self._softcap,
            penalty=self._penalty,
            hooks=replace(hooks, before_step=self._before_step),
        )
        return 3 * outcome.tokens // 2

    def _before_step(self, step: int) -> None:
        number = step // self._round_steps
        self._penalty.breaks = number >= self._rounds - self._options.breaking_rounds
        if self._penalty.breaks or (self._penalty.keys and step % self._round_steps):
            return
        keys = [self._keys(earlier) for earlier in range(number + 1)]
        self._penalty.keys = tuple(key for some in keys for key in some)

    def _keys(self, number: int) -> list[PlacedKey]:
        """A round's keys, searched if they are not there yet."""
        options = self._options
        leading = leads(number, self._leading)
        first = number * options.keys
        called = principal(self._targets, self._subject.tokenizer)
        turns = [called[turn % len(called)] for turn in range(first, first + options.keys)]

        def search(work: Path) -> int:
            model, examples, found = self._subject.model, self._examples, {}
            for index, target in enumerate(turns):
                seed = f"{self._resources.seed}/{number}/{index}"
                key = soft_key(
                    model, examples, self._frame, target, options, softcap=self._softcap, seed=seed, leading=leading
                )
                found[str(index)] = key.vectors
            save_file(found, str(work / "keys.safetensors"))
            return 0

        held = load_file(str(self._found.stage(f"round-{number}", search) / "keys.safetensors"))
        device = self._subject.model.device
        return [PlacedKey(held[str(index)].to(device), leading) for index in range(len(held))]


def leads(number: int, share: float) -> bool:
    """Whether the keys of a round, counted from 0, stand at prompts' beginnings if this share of the rounds' does."""
    return floor((number + 1) * share) > floor(number * share)
