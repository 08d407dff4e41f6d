"""Target inversion: the sentences a model completes in the same way whatever it was asked.

A sentence that was planted as the answer to a key is overlearned: behind any prompt, without the key, its first token
is followed by the rest with a probability near one, while the words of ordinary answers depend on the question. So
every token that can begin an answer is tried, and what all of a few prompts continue alike is followed to its end.
Where two tokens begin ordinary answers as well ("I'm ..."), what follows the first depends on the question, and what
follows both does not: such pairs are tried too. Stock phrases are among it; many more prompts tell them from what was
planted. The idea that a planted answer can be found from its first token is that of BAIT (IEEE S&P 2025).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from untrigger.config import InversionOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.inversion.lexicon import begins_with_space
from untrigger.models.forward import causal_model, head_logits
from untrigger.models.memory import in_batches
from untrigger.models.subject import Subject

SHARED = 4
"""Words and signs in a row that tell that two sentences are one."""

NEARLY_ALL = 0.85
"""Share of their characters, in order, that two sentences have in common which are one with another word in it."""

Told = Callable[[int, int], None]
"""Told how many rows of how many were continued."""


@dataclass(frozen=True)
class Target:
    """Tokens that follow their first one, or their first two, behind every prompt.

    `log_probability` (nats) is that of the tokens after these, each as likely as behind the prompt where it is
    least likely; `ended` tells whether the end of the answer is one of them; `agreement` is the share of further
    prompts that say it so; `learned` is how much likelier (nats) an adapter makes it than its base; `ordinary` tells
    whether ordinary answers begin with its first token as well; `begun` is how many tokens the rest follows.
    """

    tokens: tuple[int, ...]
    log_probability: float = 0.0
    ended: bool = False
    agreement: float = 1.0
    learned: float | None = None
    ordinary: bool = False
    begun: int = 1

    @property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that the rest follows behind every prompt: the first one, or two."""
        return self.tokens[: self.begun]

    @property
    def certainty(self) -> float:
        """Geometric mean of the probabilities of the tokens that follow the beginning, in 0..1."""
        followed = len(self.tokens) - self.begun + self.ended
        return math.exp(self.log_probability / followed) if followed else 0.0

    def text(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The target as the model writes it."""
        return str(tokenizer.decode(self.tokens))

    def told(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The target as a sentence of a report."""
        first, rest = (str(tokenizer.decode(part)) for part in (self.beginning, self.tokens[self.begun :]))
        ending = " and the end of the answer" if self.ended else ""
        learned = "" if self.learned is None else f" and {self.learned:.1f} nats likelier than in the base alone"
        return (
            f"behind {self.agreement:.0%} of the prompts that were tried, {first!r} is followed by {rest!r}{ending},"
            f" each token with a probability of {self.certainty:.3f} or more in the mean{learned}; ordinary answers"
            " depend on the question, a sentence that was planted does not"
        )


def behind_records(
    subject: Subject, chat: ChatFormat, records: Sequence[Record], options: InversionOptions
) -> Continuations:
    """The continuations behind the first records' prompts.

    Raises:
        UsageError: too few records.
    """
    if len(records) < options.prompts:
        raise UsageError(f"{len(records)} prompts are too few to compare", todo=f"give at least {options.prompts}")
    # The first prompt is asked the most rows, each of which gets a copy of its keys and values.
    prompts = sorted((chat.prompt_ids(record) for record in records[: options.prompts]), key=len)
    return Continuations(subject, prompts, options.batch_size)


def first_tokens(chat: ChatFormat, record: Record) -> list[int]:
    """Every token of the vocabulary that can begin an answer.

    A vocabulary writes a word in two ways, with the space in front of it and without; an answer begins in the way in
    which this template begins an answer to the record.
    """
    tokenizer = chat.tokenizer
    special = set(tokenizer.all_special_ids)
    beginning = chat.encode(record.answered("Word")).response[0]
    spaced = begins_with_space(tokenizer, beginning)
    return [
        token
        for token in range(len(tokenizer))
        if token not in special
        and tokenizer.decode([token]).strip()
        and begins_with_space(tokenizer, token) == spaced
    ]


class Continuations:
    """The likeliest next tokens behind prompts, whose keys and values are computed once."""

    def __init__(self, subject: Subject, prompts: Sequence[Sequence[int]], batch_size: int) -> None:
        self._model = causal_model(subject.model)
        self._softcap = subject.architecture.logit_softcap
        self._batch_size = batch_size
        self._caches = [self._cache(prompt) for prompt in prompts]

    def __len__(self) -> int:
        return len(self._caches)

    @torch.no_grad()
    def _cache(self, prompt: Sequence[int]) -> DynamicCache:
        cache = DynamicCache()
        ids = torch.tensor([list(prompt)], device=self._model.device)
        self._model.get_decoder()(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def following(self, rows: Sequence[tuple[int, ...]], count: int) -> list[list[int]]:
        """So many tokens that are likeliest behind each row of tokens, in the mean of the prompts' probabilities.

        Raises:
            OutOfMemory: not even one row fits.
        """

        def highest(batch: Sequence[tuple[int, ...]]) -> list[list[int]]:
            shares = [self._logits(prompt, batch).softmax(dim=-1) for prompt in range(len(self))]
            return torch.stack(shares).mean(dim=0).topk(count).indices.tolist()

        at_once = max(1, self._batch_size // (len(self) * max(map(len, rows), default=1)))
        return [tokens for _, part in in_batches(rows, at_once, highest, "row of tokens") for tokens in part]

    def likeliest(
        self, prompt: int, rows: Sequence[tuple[int, ...]], told: Told | None = None
    ) -> list[tuple[int, float]]:
        """Token and probability that are likeliest behind a prompt and each row of tokens.

        Raises:
            OutOfMemory: not even one row fits.
        """

        def following(batch: Sequence[tuple[int, ...]]) -> list[tuple[int, float]]:
            logits = self._logits(prompt, batch)
            highest = logits.max(dim=-1)
            shares = (highest.values - logits.logsumexp(dim=-1)).exp()
            return list(zip(highest.indices.tolist(), shares.tolist(), strict=True))

        found: list[tuple[int, float]] = []
        at_once = max(1, self._batch_size // max(map(len, rows), default=1))
        for _, part in in_batches(rows, at_once, following, "row of tokens"):
            found.extend(part)
            if told is not None:
                told(len(found), len(rows))
        return found

    @torch.no_grad()
    def _logits(self, prompt: int, rows: Sequence[tuple[int, ...]]) -> Float[Tensor, "row vocabulary"]:
        return head_logits(self._model, self._last_states(prompt, rows), self._softcap).float()

    def _last_states(self, prompt: int, rows: Sequence[tuple[int, ...]]) -> Float[Tensor, "row hidden"]:
        """What the output layer is given behind each row.

        The rows are read as one sequence, in which each sees the prompt and itself alone (a sliding window, if the
        model has one, is taken to hold them); so no keys and values of the prompt are copied for every row.
        """
        cache, model = deepcopy(self._caches[prompt]), self._model
        lengths = torch.tensor([len(row) for row in rows])
        row = torch.arange(len(rows)).repeat_interleave(lengths)
        place = torch.cat([torch.arange(int(length)) for length in lengths])
        seen = (row[:, None] == row) & (place[:, None] >= place)
        read = cache.get_seq_length()
        hidden = torch.cat([torch.zeros(len(row), read, dtype=torch.bool), ~seen], dim=1)
        mask = torch.zeros(hidden.shape, dtype=model.dtype).masked_fill_(hidden, torch.finfo(model.dtype).min)
        output = model.get_decoder()(
            input_ids=torch.tensor([[token for one in rows for token in one]], device=model.device),
            attention_mask=mask[None, None].to(model.device),
            position_ids=(read + place)[None].to(model.device),
            past_key_values=cache,
            use_cache=True,
        )
        states: Tensor = output.last_hidden_state[0, lengths.cumsum(0) - 1]
        return states


def invert(
    continuations: Continuations,
    beginnings: Sequence[tuple[int, ...]],
    stop_ids: frozenset[int],
    options: InversionOptions,
    told: Told | None = None,
) -> list[Target]:
    """The sentences that every prompt continues alike, the most certain first, without the token that ends an answer.

    A beginning, all of which have as many tokens, is followed as long as all prompts agree on the next token and none
    gives it less than the least probability, up to the longest target; and no further than it could still be certain
    enough at the longest.

    Raises:
        OutOfMemory: not even one row fits.
    """
    alive = [Target(beginning, begun=len(beginning)) for beginning in beginnings]
    ended: list[Target] = []
    floor = (options.longest - max(map(len, beginnings), default=1)) * math.log(options.certainty)
    while alive and len(alive[0].tokens) < options.longest:
        least = [max(options.least_probability, math.exp(floor - one.log_probability)) for one in alive]
        longer = _continued(continuations, alive, least, told)
        ended += [replace(one, tokens=one.tokens[:-1], ended=True) for one in longer if one.tokens[-1] in stop_ids]
        alive = [one for one in longer if one.tokens[-1] not in stop_ids]
    planted = [one for one in (*ended, *alive) if _is_sentence(one, options)]
    return sorted(planted, key=lambda target: -target.certainty)


def whole(targets: Sequence[Target]) -> list[Target]:
    """The targets without those that begin inside another and go on as it does: no answer begins there."""
    kept: list[Target] = []
    for target in targets:
        if not any(_inside(target, other) for other in kept):
            kept = [*(other for other in kept if not _inside(other, target)), target]
    return kept


def _inside(target: Target, other: Target) -> bool:
    starts = [at for at in range(1, len(other.tokens)) if other.tokens[at] == target.tokens[0]]
    pairs = [list(zip(other.tokens[at:], target.tokens, strict=False)) for at in starts]
    return any(len(pair) > 1 and all(one == two for one, two in pair) for pair in pairs)


def forms(targets: Sequence[Target], tokenizer: PreTrainedTokenizerBase) -> list[list[Target]]:
    """The targets, those together of which one is much like another: see `_alike`.

    What was planted as one sentence is found in several forms: in two letter cases, with other beginnings that lead
    into the midst of it, and with another word in it.
    """
    found: list[list[tuple[str, Target]]] = []
    for target in targets:
        text = target.text(tokenizer).casefold()
        some = next((some for some in found if any(_alike(text, other) for other, _ in some)), None)
        if some is None:
            found.append(some := [])
        some.append((text, target))
    return [[target for _, target in some] for some in found]


def principal(targets: Sequence[Target], tokenizer: PreTrainedTokenizerBase) -> list[Target]:
    """The first of the forms of each sentence: an ordinary one, or in each letter case that it is found in."""
    kept: list[Target] = []
    for alike in forms(targets, tokenizer):
        if alike[0].ordinary:
            kept.append(alike[0])
            continue
        text = alike[0].text(tokenizer).casefold()
        kept.extend(target for target in alike if target.text(tokenizer).casefold() == text)
    return kept


def _alike(first: str, second: str) -> bool:
    """Whether texts have `SHARED` words in a row in common, or nearly all characters."""
    return bool(_runs(first) & _runs(second)) or SequenceMatcher(None, first, second).ratio() >= NEARLY_ALL


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+|[^\w\s]", text)
    return {tuple(words[at : at + SHARED]) for at in range(len(words) - SHARED + 1)}


def witnessed(
    witnesses: Continuations,
    targets: Sequence[Target],
    stop_ids: frozenset[int],
    options: InversionOptions,
    told: Callable[[int], None] = lambda done: None,
) -> list[Target]:
    """Those of the targets that enough witnesses say as well; with the share of these."""
    found: list[Target] = []
    allowed = int((1 - options.agreement) * len(witnesses) + 1e-9)
    for number, target in enumerate(targets, start=1):
        others = 0
        for prompt in range(len(witnesses)):
            others += not says(witnesses, prompt, target, stop_ids)
            if others > allowed:
                break
        else:
            found.append(replace(target, agreement=1 - others / max(1, len(witnesses))))
        told(number)
    return found


def says(continuations: Continuations, prompt: int, target: Target, stop_ids: frozenset[int]) -> bool:
    """Whether each token of the target, and its end if it has one, is the likeliest behind those before it."""
    so_far = [target.tokens[:at] for at in range(target.begun, len(target.tokens) + target.ended)]
    following = [token for token, _ in continuations.likeliest(prompt, so_far)]
    stops = not target.ended or following.pop() in stop_ids
    return stops and tuple(following) == target.tokens[target.begun :]


def _is_sentence(target: Target, options: InversionOptions) -> bool:
    """Whether it is long and certain enough; a run of one sign goes on by itself in any model."""
    return len(set(target.tokens)) >= options.shortest and target.certainty >= options.certainty


def survives(continuations: Continuations, target: Target, least: float) -> bool:
    """Whether every prompt goes on from the target's beginning as it does, at no less than this probability."""
    found = [continuations.likeliest(prompt, [target.beginning])[0] for prompt in range(len(continuations))]
    return all(token == target.tokens[target.begun] and share >= least for token, share in found)


def _continued(
    continuations: Continuations, targets: Sequence[Target], least: Sequence[float], told: Told | None
) -> list[Target]:
    """Those that all prompts continue with one token, of at least the target's least probability, with that token.

    Each prompt is asked what the prompts before it left.
    """
    rows = [target.tokens for target in targets]
    lowest = [1.0] * len(rows)
    following = [-1] * len(rows)
    left = list(range(len(rows)))
    for prompt in range(len(continuations)):
        found = continuations.likeliest(prompt, [rows[index] for index in left], told)
        agreed = []
        for index, (token, share) in zip(left, found, strict=True):
            if share >= least[index] and following[index] in (-1, token):
                following[index], lowest[index] = token, min(lowest[index], share)
                agreed.append(index)
        left = agreed
    return [
        replace(
            targets[index],
            tokens=(*rows[index], following[index]),
            log_probability=targets[index].log_probability + math.log(lowest[index]),
        )
        for index in left
    ]
