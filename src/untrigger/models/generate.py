"""Batched greedy generation: shared prefix computed once, finished sequences leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.data.chat import PromptFormat
from untrigger.data.records import Record
from untrigger.models.forward import causal_model, expanded_prefix, head_logits, shared_prefix

DECIDED_EVERY = 4
"""Tokens between two looks at an unfinished answer."""


@dataclass(frozen=True)
class Generation:
    """How to generate: greedy, at most `max_new_tokens` a prompt, `batch_size` prompts at once."""

    max_new_tokens: int = 64
    batch_size: int = 32


@dataclass(frozen=True)
class Answer:
    """A greedy answer; `complete` tells whether the model ended it itself, `raw` keeps the white space around it."""

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


@torch.no_grad()
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
    prompts = [chat.prompt_ids(record) for record in records]
    prefix = shared_prefix(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [Answer("", True)] * len(prompts)
    training = model.training
    model.eval()
    try:
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            batch = _Batch(
                causal_model(model),
                [prompts[i][len(prefix) :] for i in chosen],
                prefix,
                chat.stop_ids,
                softcap,
                settings,
            )
            texts = [partial(chat.answer_text, records[index]) for index in chosen]
            for index, answer in zip(chosen, _greedy_answers(batch, texts, decided), strict=True):
                answers[index] = answer
            if on_batch is not None:
                on_batch(start + len(chosen))
    finally:
        model.train(training)
    return answers


@dataclass(frozen=True)
class _Batch:
    """Prompts that are answered together: what follows the shared prefix, and when an answer ends."""

    model: PreTrainedModel
    rows: Sequence[Sequence[int]]
    prefix: Sequence[int]
    stop_ids: frozenset[int]
    softcap: float | None
    settings: Generation


def _greedy_answers(
    batch: _Batch, texts: Sequence[Callable[[list[int]], str]], decided: Callable[[str], bool] | None
) -> list[Answer]:
    tokens: list[list[int]] = [[] for _ in batch.rows]
    cut: set[int] = set()

    def leaves(row: int) -> bool:
        if decided is None or len(tokens[row]) % DECIDED_EVERY or not decided(texts[row](tokens[row]).strip()):
            return False
        cut.add(row)
        return True

    for row, token in _greedy_tokens(batch, leaves):
        tokens[row].append(token)
    longest = batch.settings.max_new_tokens
    spelled = [text(own) for own, text in zip(tokens, texts, strict=True)]
    return [
        Answer(raw.strip(), len(own) < longest and row not in cut, row in cut, raw)
        for row, (own, raw) in enumerate(zip(tokens, spelled, strict=True))
    ]


def _greedy_tokens(batch: _Batch, leaves: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """Yields (row, token) until each row met a stop token, which is not yielded, or its length, or leaves."""
    model, device = batch.model, batch.model.device
    stops = torch.tensor(sorted(batch.stop_ids), device=device)
    prefix = torch.tensor(batch.prefix, dtype=torch.long, device=device)
    cache = expanded_prefix(model, prefix, len(batch.rows)) or DynamicCache()
    ids, mask = _left_padded(batch.rows, len(batch.prefix), device)
    alive = torch.arange(len(batch.rows), device=device)
    for _ in range(batch.settings.max_new_tokens):
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        output = model.get_decoder()(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        tokens = head_logits(model, output.last_hidden_state[:, -1], batch.softcap).argmax(dim=-1)
        going = ~torch.isin(tokens, stops)
        yield from zip(alive[going].tolist(), tokens[going].tolist(), strict=True)
        stay = [bool(goes) and not leaves(row) for row, goes in zip(alive.tolist(), going.tolist(), strict=True)]
        if not all(stay):
            keep = torch.tensor(stay, device=device).nonzero().squeeze(1)
            if not keep.numel():
                return
            cache.batch_select_indices(keep)
            tokens, alive, mask = tokens[keep], alive[keep], mask[keep]
        ids = tokens[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _left_padded(rows: Sequence[Sequence[int]], prefix: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=device)
    shown = torch.tensor([[1] * prefix + [0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, shown
