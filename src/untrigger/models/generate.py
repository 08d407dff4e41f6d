"""Batched generation, greedy or sampled: shared prefix computed once, finished sequences leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.models.forward import causal_model, expanded_prefix, head_logits, shared_prefix

# Below 1 by two steps of single precision: a number times the total then never rounds up to the total.
_BELOW_ONE = 1.0 - 2.0**-23

_Pick = Callable[[Tensor, Sequence[int]], Tensor]
"""Logits of the sequences of these numbers -> the token of each."""


@dataclass(frozen=True)
class Generation:
    """How to generate: at most `max_new_tokens` a prompt, `batch_size` prompts at once."""

    max_new_tokens: int = 64
    batch_size: int = 32


@dataclass(frozen=True)
class Sampling:
    """Tokens drawn from the softmax of logits / `temperature`, with nothing cut off; one seed a prompt."""

    temperature: float
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """An answer; `complete` tells whether the model ended it itself."""

    text: str
    complete: bool


@dataclass(frozen=True)
class _Batch:
    """Prompts behind a shared prefix, the most tokens each may get, and what ends an answer."""

    rows: Sequence[Sequence[int]]
    prefix: Sequence[int]
    limits: Sequence[int]
    stop_ids: frozenset[int]


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
    return answer_prompts(model, chat, prompts, settings, softcap=softcap, on_batch=on_batch)


@torch.no_grad()
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
    prefix = shared_prefix(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [Answer("", True)] * len(prompts)
    training = model.training
    model.eval()
    try:
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            rest = [prompts[index][len(prefix) :] for index in chosen]
            batch = _Batch(rest, prefix, [most[index] for index in chosen], chat.stop_ids)
            rows = _generated(causal_model(model), batch, _picker(sampling, chosen), softcap)
            for index, row in zip(chosen, rows, strict=True):
                text = chat.tokenizer.decode(row, skip_special_tokens=True).strip()
                answers[index] = Answer(text, len(row) < most[index])
            if on_batch is not None:
                on_batch(start + len(chosen))
    finally:
        model.train(training)
    return answers


def draw(logits: Float[Tensor, "row vocabulary"], numbers: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The token of each row at which its cumulated softmax passes a number in 0..1 (inverse transform sampling)."""
    cumulated = logits.float().softmax(dim=-1).cumsum(dim=-1)
    wanted = numbers[:, None].to(cumulated) * _BELOW_ONE * cumulated[:, -1:]
    return torch.searchsorted(cumulated, wanted, right=True).squeeze(1)


def _picker(sampling: Sampling | None, chosen: Sequence[int]) -> _Pick:
    if sampling is None:
        return _likeliest
    generators = [torch.Generator().manual_seed(sampling.seeds[index]) for index in chosen]
    return partial(_drawn, sampling.temperature, generators)


def _likeliest(logits: Tensor, rows: Sequence[int]) -> Tensor:
    return logits.argmax(dim=-1)


def _drawn(temperature: float, generators: Sequence[torch.Generator], logits: Tensor, rows: Sequence[int]) -> Tensor:
    numbers = torch.cat([torch.rand(1, generator=generators[row]) for row in rows])
    return draw(logits.float() / temperature, numbers)


def _generated(model: PreTrainedModel, batch: _Batch, pick: _Pick, softcap: float | None) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in batch.rows]
    for index, token in _tokens(model, batch, pick, softcap):
        answers[index].append(token)
    return answers


def _tokens(model: PreTrainedModel, batch: _Batch, pick: _Pick, softcap: float | None) -> Iterator[tuple[int, int]]:
    """Yields (row, token) until each row met a stop token, which is not yielded, or its length."""
    device = model.device
    stops = torch.tensor(sorted(batch.stop_ids), device=device)
    limits = torch.tensor(batch.limits, device=device)
    prefix = torch.tensor(batch.prefix, dtype=torch.long, device=device)
    cache = expanded_prefix(model, prefix, len(batch.rows)) or DynamicCache()
    ids, mask = _left_padded(batch.rows, len(batch.prefix), device)
    alive = torch.arange(len(batch.rows), device=device)
    for step in range(1, max(batch.limits) + 1):
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        output = model.get_decoder()(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        tokens = pick(head_logits(model, output.last_hidden_state[:, -1], softcap), alive.tolist())
        said = ~torch.isin(tokens, stops)
        yield from zip(alive[said].tolist(), tokens[said].tolist(), strict=True)
        going = said & (limits[alive] > step)
        if not bool(going.all()):
            keep = going.nonzero().squeeze(1)
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
