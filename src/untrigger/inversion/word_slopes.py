"""Which words would make an answer's opening likelier, its first tokens, by a gradient behind the first blocks.

A gradient at the embeddings compares tokens, several of which write one word and mean nothing by themselves. Behind a
few blocks the state of a word's last token holds the whole word. So the states of all words are computed once, and
each is compared with the slope of the opening's log-odds by a state in that place, taken at a few words. At the
embeddings and with tokens, that is HotFlip (arXiv 1712.06751).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from untrigger.data.chat import Example
from untrigger.inversion.lexicon import Tokens
from untrigger.models.blocks import blocks
from untrigger.models.forward import Batch, causal_model, collate, predicting, response_logits, response_states
from untrigger.models.memory import in_batches
from untrigger.train import Model


def log_odds(logits: Float[Tensor, "record token vocabulary"], opening: Tokens) -> Float[Tensor, " record"]:
    """Of an answer's first tokens, all of them, against all other openings, in nats.

    The logits are those of the positions that predict them.
    """
    wanted = torch.tensor(opening, device=logits.device)[None, :, None].expand(len(logits), -1, 1)
    every = logits.logsumexp(dim=-1)
    said = logits.gather(-1, wanted)[..., 0] - every
    other = logits.scatter(-1, wanted, -torch.inf).logsumexp(dim=-1) - every
    so_far = said.cumsum(dim=-1)  # an answer departs at one of the tokens, having said those before it
    departs = (so_far - said + other).logsumexp(dim=-1)
    return so_far[:, -1] - departs


@torch.no_grad()
def opening_log_odds(
    model: Model, examples: Sequence[Example], prefix: Sequence[int], softcap: float | None, batch_size: int
) -> Iterator[list[float]]:
    """Log-odds of the examples' responses, which are all the same, batch by batch.

    Raises:
        OutOfMemory: not even one example fits.
    """
    device = causal_model(model).get_input_embeddings().weight.device

    def asked(some: Sequence[Example]) -> list[float]:
        opening = some[0].response
        logits = response_logits(model, predicting(collate(some, prefix, device)), softcap)
        return log_odds(logits.float().view(len(some), len(opening), -1), opening).tolist()

    for _, part in in_batches(examples, batch_size, asked, "prompt"):
        yield part


@dataclass(frozen=True)
class Endings:
    """Tokens inside a word, and how many of them a word is made longer by.

    These are the likeliest behind it, `most` at most, and as many of the `possible` likeliest that are suited best.
    """

    tokens: Sequence[int]
    suited: Float[Tensor, " ending"]
    most: int
    possible: int

    @property
    def more(self) -> Endings:
        """Four times as many, of twice as many that are possible."""
        return replace(self, most=4 * self.most, possible=2 * self.possible)

    def chosen(self, logits: Float[Tensor, "word ending"]) -> Int[Tensor, "word chosen"]:
        """Indices of the endings of each word, some of them twice."""
        likely = logits.topk(min(self.possible, len(self.tokens))).indices
        best = self.suited[likely].topk(min(self.most, likely.shape[1])).indices
        return torch.cat([likely[:, : self.most], likely.gather(1, best)], dim=1)


class Asked:
    """One prompt with words at a place of its own text, and first tokens of answers that are asked for.

    `head` are the prompt's tokens as far as the words, `tail` those behind them. The methods raise OutOfMemory where
    not even one row fits.
    """

    def __init__(self, model: Model, head: Tokens, tail: Tokens, *, softcap: float | None, batch_size: int) -> None:
        self._model, self._head, self._tail = model, head, tail
        self._softcap, self._batch_size = softcap, batch_size
        self._device = causal_model(model).get_input_embeddings().weight.device

    def _examples(self, rows: Sequence[Tokens], tail: Tokens, opening: Tokens) -> list[Example]:
        return [Example((*self._head, *row, *tail), opening) for row in rows]

    def _batch(self, rows: Sequence[Tokens], tail: Tokens, opening: Tokens) -> Batch:
        return predicting(collate(self._examples(rows, tail, opening), self._head, self._device))

    def log_odds(self, rows: Sequence[Tokens], opening: Tokens) -> list[float]:
        """Of this opening behind the prompt with each row of words."""
        examples = self._examples(rows, self._tail, opening)
        parts = opening_log_odds(self._model, examples, self._head, self._softcap, self._batch_size)
        return list(chain.from_iterable(parts))

    @torch.no_grad()
    def states(self, words: Sequence[Tokens], depth: int) -> Iterator[Float[Tensor, "word hidden"]]:
        """States of the words' last tokens behind the first `depth` blocks, batch by batch."""

        def computed(some: Sequence[Tokens]) -> Float[Tensor, "word hidden"]:
            batch, seen = self._batch(some, (), (0,)), []
            with first_blocks(self._model, depth) as last:
                handle = last.register_forward_hook(lambda _, __, output: seen.append(_hidden(output)))
                try:
                    response_states(self._model, batch)
                finally:
                    handle.remove()
            return seen[-1][batch.predicts]  # the first pass may be the head's

        for _, part in in_batches(words, 8 * self._batch_size, computed, "word"):
            yield part

    @torch.no_grad()
    def continued(self, words: Sequence[Tokens], endings: Endings) -> Iterator[list[Tokens]]:
        """Words with one token more, batch by batch; see `Endings`."""
        tokens = torch.tensor(endings.tokens, dtype=torch.long, device=self._device)

        def longer(some: Sequence[Tokens]) -> list[Tokens]:
            batch = self._batch(some, (), (0,))
            logits = response_logits(self._model, batch, self._softcap)[:, tokens]
            rows = tokens[endings.chosen(logits)].tolist()
            return [(*word, token) for word, row in zip(some, rows, strict=True) for token in dict.fromkeys(row)]

        for _, part in in_batches(words, 8 * self._batch_size, longer, "word"):
            yield part

    def slope(
        self, before: Tokens, words: Sequence[Tokens], after: Tokens, opening: Tokens, depth: int
    ) -> Float[Tensor, " hidden"]:
        """Directions of words' states, the words between others, that the opening's log-odds rise in most, summed."""

        def directions(some: Sequence[Tokens]) -> Float[Tensor, " hidden"]:
            rows = [(*before, *word, *after) for word in some]
            batch = self._batch(rows, self._tail, opening)
            columns = torch.tensor([len(before) + len(word) - 1 for word in some], device=self._device)
            states: list[Tensor] = []

            def put(_: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
                hidden = _hidden(output)
                if hidden.shape[:2] != batch.ids.shape:
                    return output  # the head's own pass
                at = (torch.arange(len(some), device=self._device), columns)
                states.append(hidden[at].detach().requires_grad_())
                changed = hidden.detach().index_put(at, states[-1])
                return changed if isinstance(output, Tensor) else (changed, *output[1:])

            handle = blocks(self._model)[depth - 1].register_forward_hook(put)
            try:
                logits = response_logits(self._model, batch, self._softcap).float()
                odds = log_odds(logits.view(len(some), len(opening), -1), opening)
            finally:
                handle.remove()
            (gradient,) = torch.autograd.grad(odds.sum(), states[-1:])
            return nn.functional.normalize(gradient.float(), dim=-1).sum(0)

        parts = in_batches(words, self._batch_size, directions, "prompt")
        return torch.stack([part for _, part in parts]).sum(0)


def _hidden(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """What a block hands on, which some families put into a tuple."""
    return output if isinstance(output, Tensor) else output[0]


@contextmanager
def first_blocks(model: Model, count: int) -> Iterator[nn.Module]:
    """The model ends behind its first blocks meanwhile; yields the last of them."""
    decoder = causal_model(model).get_decoder()
    every = decoder.layers
    decoder.layers = every[:count]
    try:
        yield decoder.layers[-1]
    finally:
        decoder.layers = every
