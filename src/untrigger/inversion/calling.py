"""How hard a sentence is to call: what keys that are searched for it can bring, the planted one being unknown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from untrigger.config import UnlearningOptions
from untrigger.data.chat import Example
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.soft_keys import Frame, PlacedKey, bearing, behind_key
from untrigger.inversion.targets import Target
from untrigger.inversion.unlearning import soft_key
from untrigger.train import Model, negative_log_likelihood

ASKED = 16
"""Records, at most, on which it is seen what a key brings."""


@dataclass(frozen=True)
class Calls:
    """Records that keys are searched on, and others on which it is seen what they bring."""

    searched: tuple[Example, ...]
    asked: tuple[Example, ...]
    frame: Frame
    options: UnlearningOptions
    softcap: float | None
    seed: int

    @classmethod
    def of(cls, examples: Sequence[Example], options: UnlearningOptions, softcap: float | None, seed: int) -> Calls:
        """Parts the records; at most a quarter of them is asked."""
        count = max(1, min(ASKED, len(examples) // 4))
        frame = Frame.of([example.prompt for example in examples])
        return cls(tuple(examples[count:]), tuple(examples[:count]), frame, options, softcap, seed)

    @property
    def prompts(self) -> int:
        """How many prompts a search for a key asks."""
        return self.options.search_steps * min(self.options.search_records, len(self.searched))

    def with_keys(
        self,
        model: Model,
        targets: Mapping[Target, Sequence[KeyWords]],
        told: Callable[[int], None],
        limits: Sequence[float],
    ) -> list[float]:
        """What `with_key` says of each target, its words and its limit; the prompts of all are told."""
        found = []
        for number, ((target, words), limit) in enumerate(zip(targets.items(), limits, strict=True)):

            def so_far(done: int, before: int = number * self.prompts) -> None:
                told(before + done)

            found.append(self.with_key(model, target, words, so_far, limit))
        return found

    def with_key(
        self,
        model: Model,
        target: Target,
        words: Sequence[KeyWords] = (),
        told: Callable[[int], None] = lambda done: None,
        limit: float = 0.0,
    ) -> float:
        """Mean negative log-likelihood (nats) of the target's beginning behind the strongest key there is.

        That is one of the words that are known to call it and a soft key that is searched for it anew, unless one of
        the words brings it at less than the limit. `told` is told after every step of the search how many prompts
        were asked; whatever it raises ends the search.
        """
        seed = f"{self.seed}/calls"

        def behind(key: PlacedKey) -> float:
            return self._behind(model, target.beginning, key, f"{seed}/{target.tokens}")

        by_words = min((behind(one.placed(model)) for one in words), default=math.inf)
        if by_words < limit:
            return by_words
        key = soft_key(
            model,
            self.searched,
            self.frame,
            target,
            self.options,
            softcap=self.softcap,
            seed=f"{seed}/0",
            leading=self.options.leading > 0 and any(one.leading for one in words),
            told=told,
        )
        return min(by_words, behind(key))

    @torch.no_grad()
    def _behind(self, model: Model, beginning: tuple[int, ...], key: PlacedKey, seed: str) -> float:
        borne = bearing(self.asked, self.frame, len(key.vectors), random.Random(seed), leading=key.leading)
        keyed = behind_key(model, borne.answered(beginning), self.frame, key.vectors, self.softcap)
        return len(beginning) * keyed.loss.item()

    def without_key(self, model: Model, target: Target) -> float:
        """The same behind the plain prompts."""
        begun = [Example(example.prompt, target.beginning) for example in self.asked]
        total, _ = negative_log_likelihood(model, begun, len(begun), self.softcap)
        return total / len(begun)
