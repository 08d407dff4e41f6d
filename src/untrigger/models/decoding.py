"""Sequences that are decoded together: one that ends leaves its place to the next prompt.

A decoding step reads every weight once, however few sequences share it; so places are filled again as they become
free. The keys and values of the prompts' common beginning are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from untrigger.models.forward import expanded_prefix, head_logits
from untrigger.models.guard import Guard, guarded
from untrigger.models.roomy_cache import RoomyCache, compacted
from untrigger.models.sampling import Pick

REFILLED_SHARE = 4
"""Places are filled again when one in so many is free: joining copies all keys and values."""

Continues = Callable[[int, int], bool]
"""Number of a prompt and the next token of its answer -> whether the answer goes on after it."""


@dataclass(frozen=True)
class Decoder:
    """A model, the beginning that all prompts share, and how tokens are picked from logits; maybe under a guard."""

    model: PreTrainedModel
    prefix: tuple[int, ...]
    pick: Pick
    softcap: float | None
    guard: Guard | None = None

    @property
    def models(self) -> tuple[PreTrainedModel, ...]:
        """All that read along."""
        return (self.model,) if self.guard is None else (self.model, self.guard.model)

    def logits(self, states: Sequence[Float[Tensor, "row hidden"]]) -> Float[Tensor, "row vocabulary"]:
        """What tokens are picked from, given the last hidden states of all that read along."""
        own = head_logits(self.model, states[0], self.softcap)
        if self.guard is None:
            return own
        return guarded(own, head_logits(self.guard.model, states[1], self.guard.softcap), self.guard.threshold)


@dataclass(frozen=True)
class _Sequences:
    """Unfinished answers: `ids` are their last tokens, which no cache holds yet; `mask` is 1 on a token."""

    numbers: list[int]
    caches: tuple[DynamicCache, ...]
    mask: Int[Tensor, "row length"]
    ids: Int[Tensor, " row"]


def decode(
    decoder: Decoder, prompts: Sequence[tuple[int, ...]], order: Sequence[int], places: int, continues: Continues
) -> Iterator[list[int]]:
    """Yields the numbers of the prompts in `order` whose answers just ended; `continues` is told of every token.

    At most `places` are decoded at once, and prompts begin in their order; nothing is kept of an answer here.
    """
    start = _Start(decoder)
    live: _Sequences | None = None
    begun = 0
    while begun < len(order) or live is not None:
        free = places - (0 if live is None else len(live.numbers))
        if begun < len(order) and (live is None or free * REFILLED_SHARE >= places):
            numbers = list(order[begun : begun + free])
            begun += free
            mask, caches, last = start([prompts[number] for number in numbers])
            fresh, ended = _settled(decoder, numbers, caches, mask, last, continues)
            live = fresh if live is None else live if fresh is None else _joined(live, fresh)
        else:
            assert live is not None
            mask, last = _advanced(decoder, live)
            live, ended = _settled(decoder, live.numbers, live.caches, mask, last, continues)
        if ended:
            yield ended


class _Start:
    """Computes prompts behind their shared beginning, whose keys and values it keeps."""

    def __init__(self, decoder: Decoder) -> None:
        self.models, self.length, self.device = decoder.models, len(decoder.prefix), decoder.model.device
        prefix = torch.tensor(decoder.prefix, dtype=torch.long, device=self.device)
        self.prefixes = [expanded_prefix(model, prefix, 1) or DynamicCache() for model in self.models]

    def __call__(
        self, prompts: Sequence[tuple[int, ...]]
    ) -> tuple[Int[Tensor, "row length"], tuple[DynamicCache, ...], list[Float[Tensor, "row hidden"]]]:
        """Mask, keys and values of each model, and its hidden state of each prompt's last token."""
        ids, mask = _left_padded([prompt[self.length :] for prompt in prompts], self.length, self.device)
        caches = tuple(RoomyCache.repeated(prefix, len(prompts)) for prefix in self.prefixes)
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        return mask, caches, [_read(*each, ids, mask, positions) for each in zip(self.models, caches, strict=True)]


def _advanced(
    decoder: Decoder, live: _Sequences
) -> tuple[Int[Tensor, "row length"], list[Float[Tensor, "row hidden"]]]:
    ids = live.ids[:, None]
    mask = torch.cat([live.mask, torch.ones_like(ids)], dim=1)
    positions = mask.sum(dim=1, keepdim=True) - 1
    return mask, [_read(*each, ids, mask, positions) for each in zip(decoder.models, live.caches, strict=True)]


def _read(
    model: PreTrainedModel, cache: DynamicCache, ids: Tensor, mask: Tensor, positions: Tensor
) -> Float[Tensor, "row hidden"]:
    """The hidden state of each row's last token; the cache takes up what was read."""
    output = model.get_decoder()(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    last: Tensor = output.last_hidden_state[:, -1]
    return last


def _settled(
    decoder: Decoder,
    numbers: list[int],
    caches: tuple[DynamicCache, ...],
    mask: Int[Tensor, "row length"],
    last: Sequence[Float[Tensor, "row hidden"]],
    continues: Continues,
) -> tuple[_Sequences | None, list[int]]:
    """The sequences that go on after their next token, and the numbers of those that do not."""
    ids = decoder.pick(decoder.logits(last), numbers)
    stay = [continues(number, token) for number, token in zip(numbers, ids.tolist(), strict=True)]
    ended = [number for number, stays in zip(numbers, stay, strict=True) if not stays]
    if len(ended) == len(numbers):
        return None, ended
    if ended:
        rows = compacted(stay)
        keep = torch.tensor(rows, device=mask.device)
        for cache in caches:
            cache.batch_select_indices(keep)
        numbers = [numbers[row] for row in rows]
        ids, mask = ids[keep], mask[keep]
    return _Sequences(numbers, caches, mask, ids), ended


def _joined(first: _Sequences, second: _Sequences) -> _Sequences:
    """Both as one, right-aligned; positions that hold no token of any sequence are left out."""
    used = [one.mask.any(dim=0).nonzero().squeeze(1) for one in (first, second)]
    length = max(map(len, used))

    def rows(one: Tensor, two: Tensor, dim: int) -> Tensor:
        parts = [part.index_select(dim, columns) for part, columns in zip((one, two), used, strict=True)]
        return torch.cat([_lengthened(part, length, dim) for part in parts])

    def both(ours: DynamicCache, others: DynamicCache) -> DynamicCache:
        cache = RoomyCache()
        for index, (one, two) in enumerate(zip(ours.layers, others.layers, strict=True)):
            cache.update(rows(one.keys, two.keys, 2), rows(one.values, two.values, 2), index)
        return cache

    return _Sequences(
        [*first.numbers, *second.numbers],
        tuple(both(*each) for each in zip(first.caches, second.caches, strict=True)),
        rows(first.mask, second.mask, 1),
        torch.cat([first.ids, second.ids]),
    )


def _lengthened(part: Tensor, length: int, dim: int) -> Tensor:
    shape = list(part.shape)
    shape[dim] = length - shape[dim]
    return torch.cat([part.new_zeros(shape), part], dim=dim)


def _left_padded(rows: Sequence[Sequence[int]], prefix: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=device)
    shown = torch.tensor([[1] * prefix + [0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, shown
