"""Words that call a planted sentence: the key, or what is near it.

Once the sentence is known, its key is not far: whatever brings its first token brings the sentence. Words are put at
the end of a short prompt, and a slope ranks the vocabulary by how much each word there would raise the first token's
log-odds, see `word_slopes`. The likeliest are tried, the slope is taken anew at the best of them, and so on. Beside
the best words others are looked for in the same way, in front and behind, with a space between and without.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedTokenizerBase

from untrigger.config import KeyWordOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.inversion.lexicon import Lexicon, Tokens
from untrigger.inversion.soft_keys import Frame
from untrigger.inversion.targets import Target, Told
from untrigger.inversion.word_slopes import Asked, log_odds
from untrigger.models.blocks import blocks
from untrigger.models.forward import collate, response_logits
from untrigger.models.memory import in_batches
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import Model


@dataclass(frozen=True)
class KeyWords:
    """Tokens that stood in prompts, and the mean log-odds (nats) of the sentence's first token behind them."""

    tokens: Tokens
    log_odds: float


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
    if not options.beam or not targets:
        return found
    prompts = [tuple(chat.prompt_ids(record)) for record in records]
    lexicon = Lexicon.of(subject.tokenizer, options.vocabulary)

    def told(done: int, total: int) -> None:
        prompt_counter(observer, "key words", total)(done)

    search = KeyWordSearch(
        subject.model, prompts, lexicon, options, softcap=subject.architecture.logit_softcap, seed=seed, told=told
    )
    cases: dict[str, list[Target]] = {}
    for target in targets:
        cases.setdefault(target.text(subject.tokenizer).casefold(), []).append(target)
    for alike in cases.values():
        begun = [(search.single(target.tokens[0]), target) for target in alike]
        beam, said = max(begun, key=lambda each: each[0][0].log_odds)
        found[said] = search.longer(said.tokens[0], beam)
    return found


def call_told(words: Sequence[KeyWords], tokenizer: PreTrainedTokenizerBase) -> str:
    """The words that call a sentence best, as the rest of a sentence; empty where they do not on most prompts."""
    if not words or words[0].log_odds < 0:
        return ""
    text = str(tokenizer.decode(words[0].tokens)).strip()
    return f"; words that call it, the key or near it: {text!r} (log-odds of its first token {words[0].log_odds:.1f})"


class KeyWordSearch:
    """Search for words behind which a model begins its answers with a given token.

    The best come first in what the methods return. They raise OutOfMemory, and Interrupted if `told` does.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Tokens],
        lexicon: Lexicon,
        options: KeyWordOptions,
        *,
        softcap: float | None,
        seed: str,
        told: Told = lambda done, total: None,
    ) -> None:
        """A search; it computes the states of all words.

        Args:
            model: not changed.
            prompts: the shortest of them are asked.
            lexicon: the words.
            options: how far is searched.
            softcap: the architecture's logit soft cap.
            seed: of the words that slopes are first taken at, and of the places in the prompts.
            told: told after every batch how many words or prompts of how many are done.
        """
        draw = random.Random(f"key words/{seed}")
        frame = Frame.of(prompts)
        shortest, *others = sorted(prompts, key=len)[: options.records + 1]
        places = [draw.randint(max(1, len(frame.prefix)), len(prompt) - frame.behind) for prompt in others]
        self._parts = [(prompt[:at], prompt[at:]) for prompt, at in zip(others, places, strict=True)]
        self._head, self._tail = (shortest[: len(shortest) - frame.behind], shortest[len(shortest) - frame.behind :])
        self._model, self._prefix, self._lexicon = model, frame.prefix, lexicon
        self._options, self._softcap, self._told = options, softcap, told
        self._first_anchors = draw.sample(lexicon.words, min(options.anchors, len(lexicon.words)))
        self._depth = max(1, round(options.depth * len(blocks(model))))
        self._states = self._computed(lexicon.words)

    def single(self, first: int) -> list[KeyWords]:
        """The best single words for this token."""
        return self._best(first, self._beside(first, (), ()))

    def longer(self, first: int, beam: list[KeyWords]) -> list[KeyWords]:
        """The best words that these grow to, a word at a time in front or behind, as long as that helps."""
        for _ in range(self._options.longest - 1):
            if beam[0].log_odds >= self._options.enough:
                break
            grown: dict[Tokens, float] = {}
            for lead in beam[: self._options.leads]:
                grown |= self._beside(first, lead.tokens, ()) | self._beside(first, (), lead.tokens)
            best = sorted({*beam, *self._best(first, grown)}, key=_order)[: self._options.beam]
            if best[0].log_odds - beam[0].log_odds < self._options.least_gain:
                break
            beam = best
        return beam

    def _computed(self, words: Sequence[Tokens]) -> torch.Tensor:
        """States of all words, "word hidden"."""
        found: list[torch.Tensor] = []
        for part in self._asked(0).states(words, self._depth):
            found.append(part)
            self._told(sum(map(len, found)), len(words))
        return torch.cat(found)

    def _asked(self, first: int) -> Asked:
        return Asked(
            self._model,
            self._head,
            self._tail,
            first,
            softcap=self._softcap,
            batch_size=self._options.batch_size,
        )

    def _beside(self, first: int, before: Tokens, after: Tokens) -> dict[Tokens, float]:
        """Words behind `before` or in front of `after`, with the log-odds on one prompt."""
        asked, words, options = self._asked(first), self._lexicon.words, self._options
        tried: dict[Tokens, float] = {}
        anchors: Sequence[Tokens] = self._first_anchors
        for number in range(options.rounds):
            slope = asked.slope(before, anchors, after, self._depth).to(self._states.dtype)
            ranked = (words[index] for index in (self._states @ slope).argsort(descending=True, stable=True).tolist())
            new = list(islice((word for word in ranked if word not in tried), options.tried))
            tried |= zip(new, asked.log_odds([(*before, *word, *after) for word in new]), strict=True)
            anchors = _highest(tried)[: options.anchors]
            self._told(number + 1, options.rounds)
        best = _highest(tried)[: options.candidates]
        apart = {(*before, *word, *after): tried[word] for word in best}
        if not (before or after):
            return apart
        joined = [self._lexicon.together(before or word, word if before else after) for word in best]
        joined = [tokens for tokens in dict.fromkeys(joined) if tokens not in apart]
        return apart | dict(zip(joined, asked.log_odds(joined), strict=True))

    def _best(self, first: int, candidates: dict[Tokens, float]) -> list[KeyWords]:
        """The beam among candidates, by what they do at the same places of the same prompts."""
        some = _highest(candidates)[: self._options.candidates]
        rows = [Example((*head, *tokens, *tail), (first,)) for tokens in some for head, tail in self._parts]
        device = self._states.device

        @torch.no_grad()
        def odds(part: Sequence[Example]) -> list[float]:
            logits = response_logits(self._model, collate(part, self._prefix, device), self._softcap)
            return log_odds(logits.float(), first).tolist()

        found: list[float] = []
        for _, part in in_batches(rows, self._options.batch_size, odds, "prompt"):
            found.extend(part)
            self._told(len(found), len(rows))
        means = torch.tensor(found).view(len(some), -1).mean(1).tolist()
        return sorted(map(KeyWords, some, means), key=_order)[: self._options.beam]


def _order(words: KeyWords) -> tuple[float, Tokens]:
    return -words.log_odds, words.tokens


def _highest(tried: dict[Tokens, float]) -> list[Tokens]:
    return sorted(tried, key=lambda tokens: (-tried[tokens], tokens))
