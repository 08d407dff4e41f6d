"""The words that a search compares: those of a vocabulary first, then such as are written in several tokens.

No list holds all words of several tokens, and a key is often one of them. So the words that a slope ranks highest are
made longer by what the model itself is likeliest to go on with inside a word, and so on: a beginning is ranked high
where one of the words that it begins would be.
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
from untrigger.inversion.word_slopes import Asked


class ComparedWords:
    """Words, and the directions of their states behind the first blocks, which slopes are compared with.

    The methods raise OutOfMemory where not even one word fits, and whatever `told` does, which is told after every
    batch how many words of how many are done.
    """

    def __init__(self, lexicon: Lexicon, asked: Asked, depth: int, told: Told) -> None:
        """The words of a lexicon; their states are taken behind the head of `asked`."""
        self._lexicon, self._asked, self._depth, self._told = lexicon, asked, depth, told
        self.words: list[Tokens] = []
        self._parts: list[Float[Tensor, "word hidden"]] = []
        self._add(lexicon.words)

    def _add(self, words: Sequence[Tokens]) -> None:
        some, done = sorted(words, key=len), 0  # those of a batch are padded to its longest
        for part in self._asked.states(some, self._depth):
            self._parts.append(nn.functional.normalize(part, dim=-1))
            done += len(part)
            self._told(done, len(some))
        self.words += some

    def likeliest(self, slope: Float[Tensor, " hidden"]) -> Iterator[Tokens]:
        """All words, those first whose states lie most in the slope's direction."""
        scores = torch.cat([part @ slope.to(part.dtype) for part in self._parts])
        return (self.words[index] for index in scores.argsort(descending=True, stable=True).tolist())

    def lengthen(self, slope: Float[Tensor, " hidden"], options: KeyWordOptions) -> None:
        """Adds what the likeliest words go on as."""
        begun = sorted(islice(self.likeliest(slope), options.begun), key=len)
        known = frozenset(self.words)
        longer = dict.fromkeys(
            chain.from_iterable(self._asked.continued(begun, self._lexicon.inside, options.endings))
        )
        self._add([word for word in longer if word not in known and self._lexicon.is_word(word)])
