"""The search for the best word at one place of one prompt: the slope at the best words so far ranks all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from untrigger.config import KeyWordOptions
from untrigger.inversion.compared_words import ComparedWords
from untrigger.inversion.lexicon import Tokens
from untrigger.inversion.targets import Told
from untrigger.inversion.word_slopes import Asked


@dataclass(frozen=True)
class Climb:
    """Words between those to the left and to the right, and the opening whose log-odds they are to raise.

    `first` are words that the slope is taken at before any was tried; `tried` are those that were, with the log-odds.
    """

    asked: Asked
    compared: ComparedWords
    opening: Tokens
    left: Tokens
    right: Tokens
    first: Sequence[Tokens]
    depth: int
    options: KeyWordOptions
    told: Told
    tried: dict[Tokens, float] = field(default_factory=dict)

    def slope(self) -> Float[Tensor, " hidden"]:
        """At the best words so far."""
        anchors = highest(self.tried)[: self.options.anchors]
        return self._slope_at(anchors) if anchors else self._first_slope

    @cached_property
    def _first_slope(self) -> Float[Tensor, " hidden"]:
        return self._slope_at(self.first)

    def _slope_at(self, anchors: Sequence[Tokens]) -> Float[Tensor, " hidden"]:
        return self.asked.slope(self.left, anchors, self.right, self.opening, self.depth)

    def climb(self, tried: int) -> None:
        """Tries so many words, the likeliest, round by round, until some bring no better one."""
        options, known = self.options, self.compared.words
        vain, best = 0, max(self.tried.values(), default=-torch.inf)
        while vain < options.rounds and len(self.tried) < len(known):
            likeliest = (word for word in self.compared.likeliest(self.slope()) if word not in self.tried)
            new = list(islice(likeliest, tried))
            odds = self.asked.log_odds([(*self.left, *word, *self.right) for word in new], self.opening)
            self.tried.update(zip(new, odds, strict=True))
            vain, best = (0, max(odds)) if max(odds) > best else (vain + 1, best)
            left_over = (options.rounds - vain) * tried
            self.told(len(self.tried), min(len(self.tried) + left_over, len(known)))

    def lengthen(self, times: int) -> None:
        """So many times makes the likeliest words longer, a third as many each time, and climbs on among all.

        That ends as soon as a word raises the log-odds enough. The likeliest are so by the slope at the best words or
        by that at the first ones, since what a climb has come to may lie far from where the key is.
        """
        suited: Float[Tensor, " ending"] | None = None
        for number in range(times):
            if max(self.tried.values()) >= self.options.enough:
                break
            slopes = (self._first_slope, self.slope())
            if suited is None:
                suited = self.compared.suited(slopes[-1], self.options.suiting)
            begun = max(1, self.options.begun // 3**number)
            self.compared.lengthen(slopes, suited, self.options, begun=begun)
            self.climb(self.options.tried_longer)


def highest(tried: dict[Tokens, float]) -> list[Tokens]:
    """Words by their log-odds, the highest first."""
    return sorted(tried, key=lambda tokens: (-tried[tokens], tokens))
