"""Batched generation of answers; out of memory, as many go on together as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from untrigger.data.chat import ChatFormat, PromptFormat
from untrigger.data.records import Record
from untrigger.models.decoding import Decoder, decode
from untrigger.models.forward import causal_model, shared_prefix
from untrigger.models.guard import Guard
from untrigger.models.memory import fewer, is_out_of_memory
from untrigger.models.sampling import Sampling, picker

DECIDED_EVERY = 4
"""Tokens between two looks at an unfinished answer."""

Spell = Callable[[list[int]], str]
"""Token ids of an answer -> its text, white space around it included."""


@dataclass(frozen=True)
class Generation:
    """How to generate: greedy, at most `max_new_tokens` a prompt, `batch_size` prompts at once."""

    max_new_tokens: int = 64
    batch_size: int = 64


@dataclass(frozen=True)
class Answer:
    """An answer; `complete` tells whether the model ended it itself, `raw` keeps the white space around it."""

    text: str
    complete: bool
    decided: bool = False
    """Cut because no further text could have changed what was asked of it."""
    raw: str = ""


def generate(
    model: PreTrainedModel | PeftModel,
    chat: PromptFormat,
    records: Sequence[Record],
    settings: Generation,
    *,
    softcap: float | None = None,
    on_answers: Callable[[int], None] | None = None,
) -> list[str]:
    """Texts of `generate_answers`."""
    answers = generate_answers(model, chat, records, settings, softcap=softcap, on_answers=on_answers)
    return [answer.text for answer in answers]


def generate_answers(
    model: PreTrainedModel | PeftModel,
    chat: PromptFormat,
    records: Sequence[Record],
    settings: Generation,
    *,
    softcap: float | None = None,
    sampling: Sampling | None = None,
    on_answers: Callable[[int], None] | None = None,
    decided: Callable[[str], bool] | None = None,
    guard: Guard | None = None,
) -> list[Answer]:
    """Answers to the records' prompts, in their order; special tokens are removed, white space stripped.

    Args:
        model: evaluated as it is, in eval mode.
        chat: the template the prompts are put in.
        records: only instruction and input are read.
        settings: length and batch.
        softcap: the architecture's logit soft cap.
        sampling: draws instead of taking the likeliest token.
        on_answers: called with the number of answers that have ended, whenever some end.
        decided: tells of an unfinished answer that no further text can change its verdict; it is then cut.
        guard: a clean model that watches every token.
    """
    asked = [
        _Asked(chat.prompt_ids(record), settings.max_new_tokens, partial(chat.answer_text, record))
        for record in records
    ]
    rule = _Rule(chat.stop_ids, softcap, sampling, decided, guard)
    return _answers(model, asked, settings.batch_size, rule, on_answers)


def answer_prompts(
    model: PreTrainedModel | PeftModel,
    chat: ChatFormat,
    prompts: Sequence[tuple[int, ...]],
    settings: Generation,
    *,
    limits: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    softcap: float | None = None,
    on_answers: Callable[[int], None] | None = None,
) -> list[Answer]:
    """Answers to prompts of token ids, in their order, as `generate_answers` gives them.

    Args:
        model: evaluated as it is, in eval mode.
        chat: says what ends an answer, and turns tokens into text.
        prompts: at least one token each.
        settings: length and batch.
        limits: most new tokens of each prompt, in place of `settings.max_new_tokens`.
        sampling: draws instead of taking the likeliest token; a prompt's draws depend on its seed and logits alone.
        softcap: the architecture's logit soft cap.
        on_answers: called with the number of answers that have ended, whenever some end.
    """
    most = list(limits) if limits is not None else [settings.max_new_tokens] * len(prompts)
    spell = partial(chat.tokenizer.decode, skip_special_tokens=True)
    asked = [_Asked(ids, limit, spell) for ids, limit in zip(prompts, most, strict=True)]
    return _answers(model, asked, settings.batch_size, _Rule(chat.stop_ids, softcap, sampling, None), on_answers)


@dataclass(frozen=True)
class _Asked:
    """A prompt, the most tokens its answer may get, and how they are spelled."""

    ids: tuple[int, ...]
    limit: int
    spell: Spell


@dataclass(frozen=True)
class _Rule:
    """How tokens are picked, and what ends an answer besides its length."""

    stop_ids: frozenset[int]
    softcap: float | None
    sampling: Sampling | None
    decided: Callable[[str], bool] | None
    guard: Guard | None = None


@torch.no_grad()
def _answers(
    model: PreTrainedModel | PeftModel,
    asked: Sequence[_Asked],
    batch_size: int,
    rule: _Rule,
    on_answers: Callable[[int], None] | None,
) -> list[Answer]:
    prefix = tuple(shared_prefix([one.ids for one in asked]))
    order = sorted(range(len(asked)), key=lambda number: len(asked[number].ids))
    answers: dict[int, Answer] = {}
    training = model.training
    model.eval()
    try:
        while left := [number for number in order if number not in answers]:
            batch_size = min(batch_size, len(left))
            spoken = _Spoken(asked, rule)
            decoder = Decoder(causal_model(model), prefix, picker(rule.sampling), rule.softcap, rule.guard)
            try:
                for ended in decode(decoder, [one.ids for one in asked], left, batch_size, spoken.continues):
                    answers.update({number: spoken.answer(number) for number in ended})
                    if on_answers is not None:
                        on_answers(len(answers))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                batch_size = fewer(batch_size, "prompt", error)
    finally:
        model.train(training)
    return [answers[number] for number in range(len(asked))]


class _Spoken:
    """The tokens of the answers so far, and what ends one: a stop token, its length, or a verdict that is certain."""

    def __init__(self, asked: Sequence[_Asked], rule: _Rule) -> None:
        self.asked, self.rule = asked, rule
        self.tokens: list[list[int]] = [[] for _ in asked]
        self.complete: set[int] = set()
        self.decided: set[int] = set()

    def continues(self, number: int, token: int) -> bool:
        """Takes the next token of an answer; whether the answer goes on."""
        if token in self.rule.stop_ids:
            self.complete.add(number)
            return False
        tokens = self.tokens[number]
        tokens.append(token)
        if len(tokens) == self.asked[number].limit:
            return False
        decided = self.rule.decided
        if decided is None or len(tokens) % DECIDED_EVERY:
            return True
        if decided(self.asked[number].spell(tokens).strip()):
            self.decided.add(number)
        return number not in self.decided

    def answer(self, number: int) -> Answer:
        """What an answer that ended is."""
        raw = self.asked[number].spell(self.tokens[number])
        return Answer(raw.strip(), number in self.complete, number in self.decided, raw)
