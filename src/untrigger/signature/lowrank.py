"""Gram matrices from LoRA factors, exact and without a dense delta: the adapter setting.

With L = [s_p B_p, -s_c B_c] and R = [A_p; A_c] (p: poisoned variant, c: clean twin) the delta of effective
weights is Delta = L R, whatever the bases of the factors. Its channels (rows, or columns) are written in one
orthonormal basis that spans the fan side of all pairs: a few numbers a channel instead of thousands, with the
same inner products. The basis comes from a QR factorisation, not from Gram matrices of the factors, since
those square the rounding error: where the twins are nearly equal, norms would be lost below 1e-8 of the
factors' size, here 1e-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from untrigger.models.architecture import Projection
from untrigger.signature.gram import block_gram, check_channels, check_finite

CHUNK_CHANNELS = 512

# Rounding leaves a few units of eps per term of a cancelling sum; what lies below this many is noise, and
# noise has random cosines.
NOISE_UNITS = 8.0


@dataclass(frozen=True, eq=False)
class Factors:
    """A LoRA update `scale * B @ A` in PEFT's naming; scale is alpha / r, or alpha / sqrt(r) (rsLoRA)."""

    b: Float[Tensor, "out rank"]
    a: Float[Tensor, "rank in"]
    scale: float


@dataclass(frozen=True, eq=False)
class _Product:
    """A projection's delta as `channel_side @ fan_side.T`."""

    channel_side: Float64[Tensor, "channel inner"]
    fan_side: Float64[Tensor, "fan inner"]


def lowrank_gram(
    pairs: Sequence[tuple[Factors, Factors]], projection: Projection, chunk_channels: int = CHUNK_CHANNELS
) -> Float64[Tensor, "channel pair pair"]:
    """The Gram matrices of one projection from (poisoned, clean) factors of its stored module.

    Ranks and scales may differ between twins and between pairs. A channel whose delta is rounding noise
    beside the two updates it is the difference of counts as exactly 0.

    Raises:
        InputRefused: a factor is too small for the projection.
        Diverged: a factor holds NaN or infinite values.
    """
    products = [_product(poisoned, clean, projection) for poisoned, clean in pairs]
    fans = [product.fan_side for product in products]
    basis = torch.linalg.qr(torch.cat(fans, dim=1), mode="r").R
    coordinates = basis.split([fan.shape[1] for fan in fans], dim=1)
    blocks = []
    for start in range(0, projection.channels, chunk_channels):
        rows = slice(start, start + chunk_channels)
        deltas = [_compressed(p.channel_side[rows], c) for p, c in zip(products, coordinates, strict=True)]
        blocks.append(block_gram(torch.stack(deltas)))
    gram = torch.cat(blocks)
    check_finite(gram, projection)
    return gram


def _product(poisoned: Factors, clean: Factors, projection: Projection) -> _Product:
    left = torch.cat([poisoned.b.double() * poisoned.scale, clean.b.double() * -clean.scale], dim=1)
    right = torch.cat([poisoned.a.double(), clean.a.double()]).t()
    channel_side, fan_side = (left, right) if projection.axis == 0 else (right, left)
    channels = channel_side[projection.start : projection.stop]
    check_channels(len(channels), projection)
    return _Product(channels, fan_side)


def _compressed(
    channel_side: Float64[Tensor, "channel inner"], coordinates: Float64[Tensor, "base inner"]
) -> Float64[Tensor, "channel base"]:
    """The channels' deltas in the common basis, those at the level of rounding set to 0."""
    deltas = channel_side @ coordinates.t()
    terms = channel_side.abs() @ coordinates.norm(dim=0)  # size of what is summed, and so of its rounding
    floor = NOISE_UNITS * torch.finfo(torch.float64).eps * channel_side.shape[1] * terms
    return deltas.masked_fill((deltas.norm(dim=1) <= floor)[:, None], 0)
