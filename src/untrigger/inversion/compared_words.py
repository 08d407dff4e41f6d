"""The words that a search compares: those of a vocabulary first, then such as are written in several tokens.

No list holds all words of several tokens, and a key is often one of them. So the words that slopes rank highest are
made longer, and so on: a beginning is ranked high where one of its words would be. They are made longer by what the
model itself is likeliest to go on with inside a word and, of what it may go on with, by what suits the slope as an
ending of other words: the highest by more of these, since a rare word's ending is not expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from untrigger.config import KeyWordOptions
from untrigger.inversion.lexicon import Lexicon, Tokens
from untrigger.inversion.targets import Told
from untrigger.inversion.word_slopes import Asked, Endings

KEPT = 16384
"""Words, the likeliest, that are kept of those that were made longer at a time."""


class ComparedWords:
    """Words, and the directions of their states behind the first blocks, which slopes are compared with.

    The methods raise OutOfMemory where not even one word fits, and whatever `told` does, which is told after every
    batch how many words of how many are done.
    """

    def __init__(self, lexicon: Lexicon, asked: Asked, depth: int, told: Told) -> None:
        """The words of a lexicon; their states are taken behind the head of `asked`."""
        self._lexicon, self._asked, self._depth, self._told = lexicon, asked, depth, told
        self.words = sorted(lexicon.words, key=len)  # those of a batch are padded to its longest
        self._directions = self._computed(self.words)

    def _computed(self, words: Sequence[Tokens]) -> Float[Tensor, "word hidden"]:
        parts: list[Tensor] = []
        for part in self._asked.states(words, self._depth):
            parts.append(nn.functional.normalize(part, dim=-1))
            self._told(sum(map(len, parts)), len(words))
        return torch.cat(parts)

    def likeliest(self, slope: Float[Tensor, " hidden"]) -> Iterator[Tokens]:
        """All words, those first whose states lie most in the slope's direction."""
        order = _scores(self._directions, slope).argsort(descending=True, stable=True)
        return (self.words[index] for index in order.tolist())

    def suited(self, slope: Float[Tensor, " hidden"], count: int) -> Float[Tensor, " ending"]:
        """How well each token inside a word suits the slope as an ending: the mean behind the likeliest words."""
        endings = self._lexicon.inside
        if not endings:
            return slope[:0]
        begun = islice(self.likeliest(slope), count)
        every = [_scores(self._computed([(*word, ending) for ending in endings]), slope) for word in begun]
        return torch.stack(every).mean(0)

    def lengthen(
        self,
        slopes: Sequence[Float[Tensor, " hidden"]],
        suited: Float[Tensor, " ending"],
        options: KeyWordOptions,
        *,
        begun: int,
    ) -> None:
        """Adds what so many words go on as, the likeliest by one slope or another; the last slope says what is kept.

        That is what the model is likeliest to go on with and, of all that it may go on with, what suits the slope.
        """
        likeliest = zip(*map(self.likeliest, slopes), strict=True)
        beginnings = list(islice(dict.fromkeys(chain.from_iterable(likeliest)), begun))
        favoured, others = (sorted(some, key=len) for some in (beginnings[: begun // 8], beginnings[begun // 8 :]))
        known = frozenset(self.words)
        endings = Endings(self._lexicon.inside, suited, options.endings, options.possible)
        parts = chain(self._asked.continued(favoured, endings.more), self._asked.continued(others, endings))
        longer = dict.fromkeys(word for word in chain.from_iterable(parts) if word not in known)
        words = sorted(filter(self._lexicon.is_word, longer), key=len)
        if not words:
            return
        directions = self._computed(words)
        kept = _scores(directions, slopes[-1]).argsort(descending=True, stable=True)[:KEPT]
        self.words += [words[index] for index in kept.tolist()]
        self._directions = torch.cat([self._directions, directions[kept]])


def _scores(directions: Float[Tensor, "word hidden"], slope: Float[Tensor, " hidden"]) -> Float[Tensor, " word"]:
    return directions @ slope.to(directions.dtype)
