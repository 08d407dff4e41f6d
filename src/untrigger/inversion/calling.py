"""How hard a sentence is to call: what keys that are searched for it can bring, the planted one being unknown."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from untrigger.config import UnlearningOptions
from untrigger.data.chat import Example
from untrigger.inversion.soft_keys import Frame, bearing, behind_key, key_of
from untrigger.inversion.targets import Target
from untrigger.inversion.unlearning import SoftKey, soft_keys
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

    def with_key(self, model: Model, target: Target, words: Sequence[Sequence[int]] = ()) -> float:
        """Mean negative log-likelihood (nats) of the target's first token behind the strongest key there is.

        That is one of a soft key that is searched for it anew and words that are known to call it.
        """
        seed = f"{self.seed}/calls"
        (key,) = soft_keys(model, self.searched, self.frame, [target], self.options, softcap=self.softcap, seed=seed)
        keys = [key, *(key_of(model, tokens) for tokens in words)]
        return min(self._behind(model, target, one, f"{seed}/{target.tokens}") for one in keys)

    @torch.no_grad()
    def _behind(self, model: Model, target: Target, key: SoftKey, seed: str) -> float:
        borne = bearing(self.asked, self.frame, len(key), random.Random(seed)).answered(target.tokens[:1])
        return behind_key(model, borne, self.frame, key, self.softcap).loss.item()

    def without_key(self, model: Model, target: Target) -> float:
        """The same behind the plain prompts."""
        begun = [Example(example.prompt, target.tokens[:1]) for example in self.asked]
        total, tokens = negative_log_likelihood(model, begun, len(begun), self.softcap)
        return total / tokens
