"""The Gram matrix of each channel over the pairs: all that norms and cosines need."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float64
from torch import Tensor

from untrigger.errors import Diverged, InputRefused
from untrigger.models.architecture import Projection

Gram: TypeAlias = Float64[Tensor, "channel pair pair"]
"""gram[j, i, l] = <Delta_i[j], Delta_l[j]>, the inner product of channel j's deltas in pairs i and l."""


def block_gram(deltas: Float64[Tensor, "pair channel fan"]) -> Float64[Tensor, "channel pair pair"]:
    """The Gram matrices of deltas that are all in memory."""
    by_channel = deltas.transpose(0, 1)
    return by_channel @ by_channel.transpose(1, 2)


def norms(gram: Float64[Tensor, "channel pair pair"]) -> Float64[Tensor, "channel pair"]:
    """L2 norm of each channel's delta in each pair; a square below 0 (rounding) counts as 0."""
    return gram.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()


def cosines(gram: Float64[Tensor, "channel pair pair"]) -> Float64[Tensor, "channel pair pair"]:
    """Cosine between a channel's deltas in each two pairs, in -1..1; with a zero vector it is 0."""
    length = norms(gram)
    inverse = length.reciprocal().masked_fill(length == 0, 0)
    return (gram * inverse[:, :, None] * inverse[:, None, :]).clamp(-1, 1)


def grouped(gram: Float64[Tensor, "channel pair pair"], size: int) -> Float64[Tensor, "group pair pair"]:
    """Gram matrices of blocks of `size` neighbouring channels, each block flattened to one vector.

    The inner product of two flattened blocks is the sum of the inner products of their channels.
    """
    return gram.reshape(-1, size, *gram.shape[1:]).sum(dim=1)


def check_channels(found: int, projection: Projection) -> None:
    """Refuse a weight that is too small for the projection (slices would silently come out shorter).

    Raises:
        InputRefused: `found` is not the number of the projection's channels.
    """
    if found != projection.channels:
        raise InputRefused(
            f"{projection.weight}: {found} of {projection.channels} channels of role {projection.role} found",
            why=f"channels {projection.start}..{projection.stop} along axis {projection.axis} are needed",
        )


def check_finite(gram: Float64[Tensor, "channel pair pair"], projection: Projection) -> None:
    """Stop before NaN reaches the ranking of the channels.

    Raises:
        Diverged: a delta holds NaN or infinite values.
    """
    if not bool(gram.isfinite().all()):
        raise Diverged(
            f"{projection.weight}: a variant's delta holds NaN or infinite values",
            todo="lower the learning rate of the variants",
        )
