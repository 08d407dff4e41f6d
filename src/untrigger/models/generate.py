"""Batched generation: shared prefix computed once, finished sequences leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.data.chat import ChatFormat, PromptFormat
from untrigger.data.records import Record
from untrigger.models.forward import causal_model, expanded_prefix, head_logits, shared_prefix
from untrigger.models.memory import in_batches
from untrigger.models.sampling import Pick, Sampling, picker

DECIDED_EVERY = 4
"""Tokens between two looks at an unfinished answer."""

Spell = Callable[[list[int]], str]
"""Token ids of an answer -> its text, white space around it included."""


@dataclass(frozen=True)
class Generation:
    """How to generate: greedy, at most `max_new_tokens` a prompt, `batch_size` prompts at once."""

    max_new_tokens: int = 64
    batch_size: int = 32


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
    on_batch: Callable[[int], None] | None = None,
) -> list[str]:
    """Texts of `generate_answers`."""
    answers = generate_answers(model, chat, records, settings, softcap=softcap, on_batch=on_batch)
    return [answer.text for answer in answers]


def generate_answers(
    model: PreTrainedModel | PeftModel,
    chat: PromptFormat,
    records: Sequence[Record],
    settings: Generation,
    *,
    softcap: float | None = None,
    on_batch: Callable[[int], None] | None = None,
    decided: Callable[[str], bool] | None = None,
) -> list[Answer]:
    """Greedy answers to the records' prompts, in their order; special tokens are removed, white space stripped.

    Args:
        model: evaluated as it is, in eval mode.
        chat: the template the prompts are put in.
        records: only instruction and input are read.
        settings: length and batch.
        softcap: the architecture's logit soft cap.
        on_batch: called with the number of prompts finished after each batch.
        decided: tells of an unfinished answer that no further text can change its verdict; it is then cut.
    """
    asked = [
        _Asked(chat.prompt_ids(record), settings.max_new_tokens, partial(chat.answer_text, record))
        for record in records
    ]
    rule = _Rule(chat.stop_ids, softcap, None, decided)
    return _answers(model, asked, settings.batch_size, rule, on_batch)


def answer_prompts(
    model: PreTrainedModel | PeftModel,
    chat: ChatFormat,
    prompts: Sequence[tuple[int, ...]],
    settings: Generation,
    *,
    limits: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    softcap: float | None = None,
    on_batch: Callable[[int], None] | None = None,
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
        on_batch: called with the number of prompts finished after each batch.
    """
    most = list(limits) if limits is not None else [settings.max_new_tokens] * len(prompts)
    spell = partial(chat.tokenizer.decode, skip_special_tokens=True)
    asked = [_Asked(ids, limit, spell) for ids, limit in zip(prompts, most, strict=True)]
    return _answers(model, asked, settings.batch_size, _Rule(chat.stop_ids, softcap, sampling, None), on_batch)


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


@dataclass(frozen=True)
class _Batch:
    """Prompts behind a shared prefix that are answered together."""

    model: PreTrainedModel
    prefix: tuple[int, ...]
    asked: Sequence[_Asked]
    rule: _Rule
    pick: Pick


@torch.no_grad()
def _answers(
    model: PreTrainedModel | PeftModel,
    asked: Sequence[_Asked],
    batch_size: int,
    rule: _Rule,
    on_batch: Callable[[int], None] | None,
) -> list[Answer]:
    prefix = tuple(shared_prefix([one.ids for one in asked]))
    order = sorted(range(len(asked)), key=lambda index: len(asked[index].ids))
    answers = [Answer("", True)] * len(asked)

    def answered(chosen: Sequence[int]) -> list[Answer]:
        own = [asked[index] for index in chosen]
        return _batch_answers(_Batch(causal_model(model), prefix, own, rule, picker(rule.sampling, chosen)))

    training = model.training
    model.eval()
    try:
        done = 0
        for chosen, found in in_batches(order, batch_size, answered, "prompt"):
            for index, answer in zip(chosen, found, strict=True):
                answers[index] = answer
            done += len(chosen)
            if on_batch is not None:
                on_batch(done)
    finally:
        model.train(training)
    return answers


def _batch_answers(batch: _Batch) -> list[Answer]:
    tokens: list[list[int]] = [[] for _ in batch.asked]
    cut: set[int] = set()
    decided = batch.rule.decided

    def leaves(row: int) -> bool:
        if decided is None or len(tokens[row]) % DECIDED_EVERY:
            return False
        if decided(batch.asked[row].spell(tokens[row]).strip()):
            cut.add(row)
        return row in cut

    for row, token in _tokens(batch, leaves):
        tokens[row].append(token)
    spelled = [asked.spell(own) for asked, own in zip(batch.asked, tokens, strict=True)]
    return [
        Answer(raw.strip(), len(tokens[row]) < batch.asked[row].limit and row not in cut, row in cut, raw)
        for row, raw in enumerate(spelled)
    ]


def _tokens(batch: _Batch, leaves: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """Yields (row, token) until each row met a stop token, which is not yielded, or its limit, or leaves."""
    model, device = batch.model, batch.model.device
    stops = torch.tensor(sorted(batch.rule.stop_ids), device=device)
    prefix = torch.tensor(batch.prefix, dtype=torch.long, device=device)
    cache = expanded_prefix(model, prefix, len(batch.asked)) or DynamicCache()
    ids, mask = _left_padded([asked.ids[len(batch.prefix) :] for asked in batch.asked], len(batch.prefix), device)
    alive = list(range(len(batch.asked)))
    for step in range(1, max(asked.limit for asked in batch.asked) + 1):
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        output = model.get_decoder()(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        tokens = batch.pick(head_logits(model, output.last_hidden_state[:, -1], batch.rule.softcap), alive)
        said = (~torch.isin(tokens, stops)).tolist()
        yield from ((row, token) for row, token, speaks in zip(alive, tokens.tolist(), said, strict=True) if speaks)
        pairs = zip(alive, said, strict=True)
        stay = [speaks and step < batch.asked[row].limit and not leaves(row) for row, speaks in pairs]
        if not all(stay):
            keep = torch.tensor(stay, device=device).nonzero().squeeze(1)
            if not keep.numel():
                return
            cache.batch_select_indices(keep)
            tokens, mask = tokens[keep], mask[keep]
            alive = [row for row, stays in zip(alive, stay, strict=True) if stays]
        ids = tokens[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _left_padded(rows: Sequence[Sequence[int]], prefix: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=device)
    shown = torch.tensor([[1] * prefix + [0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, shown
