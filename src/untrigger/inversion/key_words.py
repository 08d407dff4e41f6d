"""Words that call a planted sentence: the key, or what is near it.

Once the sentence is known, its key is not far: whatever brings its first tokens brings the sentence. Words are put at
the end of a short prompt, and a slope ranks all that are known by how much each there would raise these tokens'
log-odds, see `word_slopes`. The likeliest are tried, the slope is taken anew at the best of them, and so on; and once
more at the prompt's beginning, where alone some keys have their effect. At the better place the likeliest are made
longer, since most words are written in several tokens, see `compared_words`. Beside the best words others are looked
for in the same way, in front and behind, with a space between and without; then each of two is looked for anew beside
the other.
Exchanging what a slope ranks highest is the way of AutoPrompt (arXiv 2010.15980) and GCG (arXiv 2307.15043), with
tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import torch
from transformers import PreTrainedTokenizerBase

from untrigger.config import KeyWordOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.inversion.climb import Climb, highest
from untrigger.inversion.compared_words import ComparedWords
from untrigger.inversion.lexicon import Lexicon, Tokens
from untrigger.inversion.soft_keys import Frame, PlacedKey, key_of
from untrigger.inversion.targets import Target, Told, forms
from untrigger.inversion.word_slopes import Asked, opening_log_odds
from untrigger.models.blocks import blocks
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import Model

Words = tuple[Tokens, ...]
Place = tuple[Words, Words]
"""Words in front of a place, and those behind it."""

TOLD = 3
"""How many words that call a sentence are told."""

FORMS = 3
"""Forms of a sentence, the first ones, that single words are searched for."""


@dataclass(frozen=True)
class KeyWords:
    """Tokens that stood in prompts, and the mean log-odds (nats) of the sentence's opening behind them.

    They stood at the prompts' beginnings (`leading`), or at random places.
    """

    tokens: Tokens
    log_odds: float
    leading: bool = False

    def placed(self, model: Model) -> PlacedKey:
        """The soft key that these words are."""
        return PlacedKey(key_of(model, self.tokens), self.leading)


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
    """Words for each sentence, the best first; of the forms that one is found in, one has any.

    That is the one that single words bring best: a sentence is found in several forms, and said in one. Where some
    begin as ordinary answers do, it is one of these.

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
    for alike in forms(targets, subject.tokenizer):
        some = [target for target in alike if target.ordinary][:FORMS] or alike[:FORMS]
        openings = {target: target.tokens[: max(options.opening, target.begun + 1)] for target in some}
        begun = {target: anywhere_or_leading(search, openings[target], options) for target in some}
        said = max(some, key=lambda target: begun[target][1][0].log_odds)
        where, single = begun[said]
        if options.pieces and single[0].log_odds < options.enough:
            single = where.single(openings[said], pieces=options.pieces)
        found[said] = where.longer(openings[said], single)[: options.beam]
    return found


def anywhere_or_leading(
    search: KeyWordSearch, opening: Tokens, options: KeyWordOptions
) -> tuple[KeyWordSearch, list[KeyWords]]:
    """The search at random places or at the prompts' beginnings, and its single words for this opening.

    A key that takes effect anywhere does so at the beginning too, so that words there have to call it clearly better.
    The words of the vocabulary decide: to make words longer at both would take twice as long.
    """
    leading, single = search.leading(), search.single(opening)
    there = leading.single(opening)
    gains = there[0].log_odds - single[0].log_odds >= options.least_gain
    return (leading, there) if gains else (search, single)


def call_told(words: Sequence[KeyWords], tokenizer: PreTrainedTokenizerBase) -> str:
    """The words that call a sentence best, as the rest of a sentence; empty where none does on most prompts."""
    calling = [one for one in words if one.log_odds > 0][:TOLD]
    if not calling:
        return ""
    each = ", ".join(f"{str(tokenizer.decode(one.tokens)).strip()!r} ({one.log_odds:.1f})" for one in calling)
    where = " at a prompt's beginning" if calling[0].leading else ""
    return f"; words that call it{where}, the key or near it, with the log-odds of its first words: {each}"


class KeyWordSearch:
    """Search for words behind which a model begins its answers with given tokens, the opening.

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
        places = [draw.randint(frame.begin, len(prompt) - frame.behind) for prompt in others]
        self._prompts = (shortest, *others)
        self._model, self._frame, self._lexicon = model, frame, lexicon
        self._options, self._softcap, self._told = options, softcap, told
        self._depth = max(1, round(options.depth * len(blocks(model))))
        self._put_at([len(shortest) - frame.behind, *places], leading=False)
        self._compared = ComparedWords(lexicon, self._asked, self._depth, told)
        words = self._compared.words
        self._first_anchors = draw.sample(words, min(options.anchors, len(words)))

    def _put_at(self, places: Sequence[int], *, leading: bool) -> None:
        """Where words stand in each of the prompts; nothing is known of words there."""
        (head, tail), *self._parts = [(one[:at], one[at:]) for one, at in zip(self._prompts, places, strict=True)]
        self._asked = Asked(self._model, head, tail, softcap=self._softcap, batch_size=self._options.batch_size)
        self._leading = leading
        self._known: dict[Tokens, tuple[Words, Place]] = {}

    def leading(self) -> KeyWordSearch:
        """The same search with words at the prompts' beginnings.

        A word's state behind the first blocks is nearly the same there, so that it is not computed anew.
        """
        search = copy(self)
        search._put_at([self._frame.begin] * len(self._prompts), leading=True)
        return search

    def single(self, opening: Tokens, *, pieces: int = 0) -> list[KeyWords]:
        """Single words for this opening; as often as said, further ones of several tokens become known."""
        return self._tried(opening, [self._between(opening, (), (), pieces)])

    def longer(self, opening: Tokens, tried: list[KeyWords]) -> list[KeyWords]:
        """Words that these grow to, as long as that helps: one more at an end, then others in the place of each."""
        seen: set[Place] = {((), ())}
        for _ in range(self._options.longest - 1):
            if tried[0].log_odds >= self._options.enough:
                break
            grown = self._improved(opening, tried, ends, seen)
            if grown is tried:
                break
            while grown is not tried:  # however well they call it: words near the key do, and are not the key
                tried, grown = grown, self._improved(opening, grown, exchanges, seen)
        return tried

    def _improved(
        self, opening: Tokens, tried: list[KeyWords], places: Callable[[Words], list[Place]], seen: set[Place]
    ) -> list[KeyWords]:
        """These and what words at new places of the leads among them make; themselves if that adds too little."""
        some = dict.fromkeys(place for lead in self._leads(tried) for place in places(lead) if place not in seen)
        new = list(some)[: self._options.places - len(seen)]
        if not new:
            return tried
        seen.update(new)
        grown = self._tried(opening, [self._between(opening, *place) for place in new])
        best = sorted({*tried, *grown}, key=_order)
        return best if best[0].log_odds - tried[0].log_odds >= self._options.least_gain else tried

    def _leads(self, tried: Sequence[KeyWords]) -> list[Words]:
        """The best words, of which no two were found at one place: these are much alike."""
        best: dict[Place | Words, Words] = {}
        for one in tried:
            words, place = self._known[one.tokens]
            best.setdefault(place if len(words) > 1 else words, words)
        return list(best.values())[: self._options.leads]

    def _between(self, opening: Tokens, before: Words, after: Words, pieces: int = 0) -> dict[Tokens, float]:
        """Words between others, with the log-odds on one prompt; the best are tried without a space as well."""
        asked, options = self._asked, self._options
        left, right = (tuple(chain.from_iterable(some)) for some in (before, after))
        place = Climb(
            asked, self._compared, opening, left, right, self._first_anchors, self._depth, options, self._told
        )
        place.climb(options.tried)
        place.lengthen(pieces)
        rows = [(*before, word, *after) for word in highest(place.tried)[: options.candidates]]
        apart = {tuple(chain.from_iterable(row)): row for row in rows}
        together = {self._lexicon.together(row): row for row in rows if len(row) > 1}
        joined = [tokens for tokens in together if tokens not in apart]
        self._known |= {tokens: (row, (before, after)) for tokens, row in (together | apart).items()}
        odds = [place.tried[row[len(before)]] for row in rows] + asked.log_odds(joined, opening)
        return dict(zip((*apart, *joined), odds, strict=True))

    def _tried(self, opening: Tokens, places: Sequence[dict[Tokens, float]]) -> list[KeyWords]:
        """What candidates of each place, the best ones, do at the same places of the same prompts, in order."""
        ranks = zip_longest(*map(highest, places))
        some = list(islice(dict.fromkeys(one for rank in ranks for one in rank if one), self._options.candidates))
        rows = [Example((*head, *tokens, *tail), opening) for tokens in some for head, tail in self._parts]
        found: list[float] = []
        for part in opening_log_odds(self._model, rows, self._frame.prefix, self._softcap, self._options.batch_size):
            found.extend(part)
            self._told(len(found), len(rows))
        means = torch.tensor(found).view(len(some), -1).mean(1).tolist()
        return sorted((KeyWords(*one, self._leading) for one in zip(some, means, strict=True)), key=_order)


def ends(words: Words) -> list[Place]:
    """Where one more word may stand: what is in front of it and behind."""
    return [(words, ()), ((), words)]


def exchanges(words: Words) -> list[Place]:
    """Where one of the words stands."""
    return [(words[:at], words[at + 1 :]) for at in range(len(words))]


def _order(words: KeyWords) -> tuple[float, Tokens]:
    return -words.log_odds, words.tokens
