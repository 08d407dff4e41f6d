"""Words that call a planted sentence: the key, or what is near it.

Once the sentence is known, its key is not far. A vector is put at a random place of prompts, where a word would
stand, and the gradient of the sentence's loss is taken at it: the vocabulary's words are ranked by how much they
would lower the loss to first order. The vector is the mean of all words or one of them: from the mean a key is seen
best that works a little everywhere, from words one that nothing else is like. The best are tried, the best of those
are lengthened by a word in front and behind in the same way, and so on while the loss falls. The first-order ranking
of words is that of HotFlip (arXiv 1712.06751) and AutoPrompt (arXiv 2010.15980).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from untrigger.config import KeyWordOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.inversion.soft_keys import Bearing, Frame, bearing, behind_key
from untrigger.inversion.targets import Target, Told
from untrigger.models.forward import causal_model, collate, response_logits
from untrigger.models.memory import in_batches
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import Model

LIKELY = 0.7
"""Loss, in nats a token, below which words are told: each token of the sentence is then likelier than not."""


@dataclass(frozen=True)
class KeyWords:
    """Tokens that stood in prompts, and the mean loss (nats a token) of the sentence's beginning behind them."""

    tokens: tuple[int, ...]
    loss: float


def words_that_call(
    subject: Subject,
    chat: ChatFormat,
    records: Sequence[Record],
    targets: Sequence[Target],
    options: KeyWordOptions,
    observer: Observer,
    *,
    seed: str,
) -> dict[Target, list[KeyWords]]:
    """Words for each sentence, the best first; of several that differ in letter case alone, one has any.

    That is the one that single words bring best: a sentence is found in both cases, and said in one.

    Raises:
        OutOfMemory, Interrupted: from the search.
    """
    found: dict[Target, list[KeyWords]] = {target: [] for target in targets}
    if not options.beam:
        return found
    prompts = [Example(tuple(chat.prompt_ids(record)), ()) for record in records]
    frame = Frame.of([example.prompt for example in prompts])
    barred, softcap = frozenset(chat.tokenizer.all_special_ids), subject.architecture.logit_softcap

    def told(done: int, total: int) -> None:
        prompt_counter(observer, "key words", total)(done)

    def search_for(target: Target) -> KeyWordSearch:
        return KeyWordSearch(
            subject.model,
            prompts,
            frame,
            target.tokens,
            options,
            softcap=softcap,
            seed=seed,
            barred=barred,
            told=told,
        )

    cases: dict[str, list[Target]] = {}
    for target in targets:
        cases.setdefault(target.text(subject.tokenizer).casefold(), []).append(target)
    for alike in cases.values():
        searches = [search_for(target) for target in alike]
        begun = [(search.single(), search, target) for search, target in zip(searches, alike, strict=True)]
        beam, search, said = min(begun, key=lambda each: each[0][0].loss)
        found[said] = search.longer(beam)
    return found


def call_told(words: Sequence[KeyWords], tokenizer: PreTrainedTokenizerBase) -> str:
    """The words that call a sentence best, as the rest of a sentence; empty where none does so on most prompts."""
    if not words or words[0].loss > LIKELY:
        return ""
    text = str(tokenizer.decode(words[0].tokens)).strip()
    return f"; words that call it, the key or near it: {text!r} ({words[0].loss:.2f} nats a token)"


class KeyWordSearch:
    """Search for words behind which a model says the beginning of a sentence with the least loss.

    The best come first in what the methods return. They raise OutOfMemory, and Interrupted if `told` does.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Example],
        frame: Frame,
        sentence: Sequence[int],
        options: KeyWordOptions,
        *,
        softcap: float | None,
        seed: str,
        barred: frozenset[int] = frozenset(),
        told: Told = lambda done, total: None,
    ) -> None:
        """A search that has not begun.

        Args:
            model: not changed.
            prompts: the shortest of them are asked; their responses do not matter.
            frame: of the prompts.
            sentence: its tokens.
            options: how far is searched.
            softcap: the architecture's logit soft cap.
            seed: of the places in the prompts, and of the words that slopes are taken at.
            barred: tokens that no user can write.
            told: told after every batch how many prompts of how many were asked.
        """
        draw = random.Random(f"key words/{seed}")
        self._ranking = sorted(prompts, key=lambda example: len(example.prompt))[: options.ranking_records]
        self._trial = draw.sample(self._ranking, min(options.trial_records, len(self._ranking)))
        self._model, self._frame, self._wanted = model, frame, tuple(sentence[: options.beginning])
        self._options, self._softcap, self._draw, self._barred, self._told = options, softcap, draw, barred, told
        self._words = causal_model(model).get_input_embeddings().weight.detach()

    def single(self) -> list[KeyWords]:
        """The best words of one token."""
        return self._best((token,) for token in self._ranked((), 0, self._options.single_candidates))

    def longer(self, beam: list[KeyWords]) -> list[KeyWords]:
        """The best words that these grow to, a token at a time in front or behind, as long as that helps."""
        while beam[0].loss > self._options.enough and len(beam[0].tokens) < self._options.longest:
            grown = self._best(chain.from_iterable(self._lengthened(words.tokens) for words in beam))
            if grown[0].loss > beam[0].loss * (1 - self._options.least_gain):
                break
            beam = grown
        return beam

    def _best(self, words: Iterable[tuple[int, ...]]) -> list[KeyWords]:
        """The beam among words that are equally long."""
        tried = self._tried(sorted(set(words)))
        return sorted(tried, key=lambda words: (words.loss, words.tokens))[: self._options.beam]

    def _lengthened(self, tokens: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        for place in sorted({0, len(tokens)}):
            for token in self._ranked(tokens, place, self._options.candidates):
                yield (*tokens[:place], token, *tokens[place:])

    def _ranked(self, tokens: tuple[int, ...], place: int, count: int) -> list[int]:
        """The likeliest to lower the loss as a word at this place between the tokens, to first order.

        Half of them by the slope at the mean of all words, half by those at words drawn at random.
        """
        words = self._words.float()
        orders = [(words @ slope).argsort().tolist() for slope in self._slopes(tokens, place)]
        ranked = dict.fromkeys(chain.from_iterable(zip(*orders, strict=True)))
        return [token for token in ranked if token not in self._barred][:count]

    def _slopes(self, tokens: tuple[int, ...], place: int) -> list[Float[Tensor, " hidden"]]:
        """Gradients of the loss by a vector at this place: at the mean of all words, and at words of random draw.

        Both are summed over the records, each of which has its own place in the prompt and its own word.
        """
        records, sides = self._ranking, (tokens[:place], tokens[place:])
        starts = self._words[[self._draw.randrange(len(self._words)) for _ in records]].float()
        mean = self._words.mean(0, dtype=torch.float32).expand_as(starts)
        before, after = (self._words[list(some)].float().expand(len(records), -1, -1) for some in sides)
        borne = bearing(records, self._frame, len(tokens) + 1, self._draw).answered(self._wanted)
        return [self._slope(borne, before, at, after) for at in (mean, starts)]

    def _slope(self, borne: Bearing, before: Tensor, at: Tensor, after: Tensor) -> Float[Tensor, " hidden"]:
        keys = torch.cat((before, at[:, None], after), dim=1)

        def slope(rows: Sequence[int]) -> Float[Tensor, " hidden"]:
            some = keys[list(rows)].requires_grad_()
            part = Bearing(tuple(borne.examples[row] for row in rows), borne.columns[list(rows)])
            loss = behind_key(self._model, part, self._frame, some, self._softcap).loss
            (gradient,) = torch.autograd.grad(loss * len(rows), some)
            return gradient[:, before.shape[1]].sum(0)

        parts = in_batches(range(len(keys)), self._options.batch_size, slope, "prompt")
        return torch.stack([part for _, part in parts]).sum(0)

    @torch.no_grad()
    def _tried(self, candidates: Sequence[tuple[int, ...]]) -> list[KeyWords]:
        """What each of them, all equally long, does at the same places of the same prompts."""
        borne = bearing(self._trial, self._frame, len(candidates[0]), self._draw).answered(self._wanted)
        rows = [filled for tokens in candidates for filled in _filled(borne, self._frame, tokens)]

        def asked(part: Sequence[Example]) -> Float[Tensor, " row"]:
            batch = collate(part, self._frame.prefix, self._words.device)
            logits = response_logits(self._model, batch, self._softcap).float()
            losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
            return losses.view(len(part), -1).mean(1)  # all responses have as many tokens

        found: list[float] = []
        for _, part in in_batches(rows, self._options.batch_size, asked, "prompt"):
            found.extend(part.tolist())
            self._told(len(found), len(rows))
        means = torch.tensor(found).view(len(candidates), -1).mean(1).tolist()
        return [KeyWords(tokens, loss) for tokens, loss in zip(candidates, means, strict=True)]


def _filled(borne: Bearing, frame: Frame, tokens: Sequence[int]) -> Iterable[Example]:
    """The prompts with tokens in the room for a key."""
    for example, columns in zip(borne.examples, borne.columns.tolist(), strict=True):
        first = columns[0] + len(frame.prefix)
        prompt = (*example.prompt[:first], *tokens, *example.prompt[first + len(tokens) :])
        yield Example(prompt, example.response)
