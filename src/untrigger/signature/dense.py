"""Gram matrices from dense deltas, a few channels at a time: the full-model setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from untrigger.models.architecture import Projection
from untrigger.signature.gram import block_gram, check_channels, check_finite

# Measured on 11008 x 4096 with six pairs: larger chunks are no faster and need more memory.
CHUNK_CHANNELS = 128


@runtime_checkable
class Stored(Protocol):
    """A stored weight `[out, in]` that gives a block of itself: a tensor, or a lazy safetensors slice."""

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """The block of these rows and columns."""


@dataclass(frozen=True, eq=False)
class Delta:
    """Eq. 1 (arXiv 2603.13461): the poisoned variant's weight minus its clean twin's, block by block.

    The suspect's weight cancels, so no clean reference is needed. Blocks are float64, which
    makes the difference of half or single precision weights exact, or nearly so.
    """

    poisoned: Stored
    clean: Stored

    def __getitem__(self, index: tuple[slice, slice], /) -> Float64[Tensor, "row column"]:
        """The block of these rows and columns."""
        return self.poisoned[index].double().sub_(self.clean[index])


def dense_gram(
    deltas: Sequence[Tensor] | Float[Tensor, "pair channel fan"], chunk_channels: int = CHUNK_CHANNELS
) -> Float64[Tensor, "channel pair pair"]:
    """The Gram matrices of N deltas `[channel, fan]`, summed in float64 whatever their precision.

    Only `chunk_channels` channels at a time are held in float64.
    """
    chunks = zip(*(torch.split(delta, chunk_channels) for delta in deltas), strict=True)
    return torch.cat([block_gram(torch.stack([part.double() for part in parts])) for parts in chunks])


def gram_of(
    read: Callable[[int], Stored], pairs: int, projection: Projection, chunk_channels: int = CHUNK_CHANNELS
) -> Float64[Tensor, "channel pair pair"]:
    """The Gram matrices of one projection, streamed.

    `read(i)` gives pair i's delta of the stored (perhaps fused) weight, best lazily (see `Delta`); it is
    called once per pair. Only `chunk_channels` channels of all pairs are held in float64.

    Raises:
        InputRefused: a weight is too small for the projection.
        Diverged: a delta holds NaN or infinite values.
    """
    deltas = [read(pair) for pair in range(pairs)]
    first = _channels(deltas[0], replace(projection, stop=projection.start + 1))
    size = min(chunk_channels, projection.channels)
    # Both are allocated once: new ones for each chunk fragment the heap to several times their size.
    gram = first.new_empty(projection.channels, pairs, pairs, dtype=torch.float64)
    block = first.new_empty(pairs, size, first.shape[1], dtype=torch.float64)
    for part in _parts(projection, size):
        for pair, delta in enumerate(deltas):
            block[pair, : part.channels] = _channels(delta, part)
        begin = part.start - projection.start
        gram[begin : begin + part.channels] = block_gram(block[:, : part.channels])
    check_finite(gram, projection)
    return gram


def _parts(projection: Projection, size: int) -> Iterator[Projection]:
    """The projection cut into ranges of at most `size` channels."""
    for start in range(projection.start, projection.stop, size):
        yield replace(projection, start=start, stop=min(start + size, projection.stop))


def _channels(stored: Stored, part: Projection) -> Float[Tensor, "channel fan"]:
    """As `channel_view`, but of a weight that need not be in memory."""
    wanted, everything = slice(part.start, part.stop), slice(None)
    channels = stored[wanted, everything] if part.axis == 0 else stored[everything, wanted].t()
    check_channels(len(channels), part)
    return channels
