"""How far the scores behind two signatures agree."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from untrigger.models.architecture import Projection
from untrigger.signature.score import ranks, standardised
from untrigger.signature.select import ScoreTable


def rank_agreement(first: ScoreTable, second: ScoreTable) -> float | None:
    """Spearman's correlation of the scores, in -1..1: the mean over projections, since each has a scale of its own.

    None where scores were not stored, or are constant in every projection.
    """
    common = [projection for projection in first.channels if projection in second.channels]
    found = [_spearman(first, second, projection) for projection in common]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def spearman(first: Float64[Tensor, " channel"], second: Float64[Tensor, " channel"]) -> float | None:
    """Correlation of the ranks, ties sharing their mean rank; None if either is constant."""
    left, right = (standardised(ranks(values)) for values in (first, second))
    if not bool(left.any() and right.any()):
        return None
    return float(torch.mean(left * right).clamp(-1, 1))


def _spearman(first: ScoreTable, second: ScoreTable, projection: Projection) -> float | None:
    return spearman(first.channels[projection].score, second.channels[projection].score)
