"""Batched greedy generation: shared prefix computed once, finished sequences leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.models.forward import causal_model, expanded_prefix, head_logits, shared_prefix


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
    raw: str = ""


def generate(
    model: PreTrainedModel | PeftModel,
    chat: ChatFormat,
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
    chat: ChatFormat,
    records: Sequence[Record],
    settings: Generation,
    *,
    softcap: float | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[Answer]:
    """Greedy answers to the records' prompts, in their order; special tokens are removed, white space stripped.

    Args:
        model: evaluated as it is, in eval mode.
        chat: the template the prompts are put in.
        records: only instruction and input are read.
        settings: length and batch.
        softcap: the architecture's logit soft cap.
        on_batch: called with the number of prompts finished after each batch.
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
            rows = _greedy_batch(
                causal_model(model),
                [prompts[i][len(prefix) :] for i in chosen],
                prefix,
                chat.stop_ids,
                settings,
                softcap,
            )
            for index, row in zip(chosen, rows, strict=True):
                raw = chat.tokenizer.decode(row, skip_special_tokens=True)
                answers[index] = Answer(raw.strip(), len(row) < settings.max_new_tokens, raw)
            if on_batch is not None:
                on_batch(start + len(chosen))
    finally:
        model.train(training)
    return answers


def _greedy_batch(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    prefix: Sequence[int],
    stop_ids: frozenset[int],
    settings: Generation,
    softcap: float | None,
) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in rows]
    for index, token in _greedy_tokens(model, rows, prefix, stop_ids, settings, softcap):
        answers[index].append(token)
    return answers


def _greedy_tokens(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    prefix: Sequence[int],
    stop_ids: frozenset[int],
    settings: Generation,
    softcap: float | None,
) -> Iterator[tuple[int, int]]:
    """Yields (row, token) until each row met a stop token, which is not yielded, or its length."""
    device = model.device
    stops = torch.tensor(sorted(stop_ids), device=device)
    cache = expanded_prefix(model, torch.tensor(prefix, dtype=torch.long, device=device), len(rows)) or DynamicCache()
    ids, mask = _left_padded(rows, len(prefix), device)
    alive = torch.arange(len(rows), device=device)
    for _ in range(settings.max_new_tokens):
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        output = model.get_decoder()(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        tokens = head_logits(model, output.last_hidden_state[:, -1], softcap).argmax(dim=-1)
        going = ~torch.isin(tokens, stops)
        if not bool(going.all()):
            keep = going.nonzero().squeeze(1)
            if not keep.numel():
                return
            cache.batch_select_indices(keep)
            tokens, alive, mask = tokens[keep], alive[keep], mask[keep]
        yield from zip(alive.tolist(), tokens.tolist(), strict=True)
        ids = tokens[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _left_padded(rows: Sequence[Sequence[int]], prefix: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=device)
    shown = torch.tensor([[1] * prefix + [0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, shown
