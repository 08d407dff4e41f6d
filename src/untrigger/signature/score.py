"""Eq. 2 (arXiv 2603.13461): how strongly, and how consistently over the pairs, poisoning moves a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from untrigger.config import SignatureOptions
from untrigger.errors import UsageError
from untrigger.signature.gram import cosines, norms

Form: TypeAlias = Literal["sum", "product", "norm", "alignment", "rank", "zscore"]
Vector: TypeAlias = Float64[Tensor, " channel"]


@dataclass(frozen=True, eq=False)
class ChannelScores:
    """What was computed for each channel of one projection (or for each head)."""

    strength: Float64[Tensor, " channel"]
    alignment: Float64[Tensor, " channel"]
    score: Float64[Tensor, " channel"]


def channel_scores(gram: Float64[Tensor, "channel pair pair"], options: SignatureOptions) -> ChannelScores:
    """Strength, alignment and score of each channel of one module.

    Raises:
        UsageError: a single pair with a form that needs alignment.
    """
    if gram.shape[1] < 2 and options.form != "norm":
        raise UsageError(
            f"form {options.form!r} over {gram.shape[1]} pair(s)",
            why="alignment compares pairs",
            todo="use two pairs or more, or form 'norm'",
        )
    hard, consistent = strength(gram), alignment(gram)
    return ChannelScores(hard, consistent, score(hard, consistent, options.form, options.alignment_weight))


def strength(gram: Float64[Tensor, "channel pair pair"]) -> Float64[Tensor, " channel"]:
    """How hard poisoning pushes each channel: the L2 norm of its delta, averaged over the pairs."""
    return norms(gram).mean(dim=1)


def alignment(gram: Float64[Tensor, "channel pair pair"]) -> Float64[Tensor, " channel"]:
    """How far the pairs agree on a channel's direction, in 0..1: the mean over two pairs of max(0, cosine).

    A single pair has alignment 0.
    """
    pairs = gram.shape[1]
    if pairs < 2:
        return gram.new_zeros(len(gram))
    first, second = torch.triu_indices(pairs, pairs, offset=1, device=gram.device)
    return cosines(gram)[:, first, second].clamp(min=0).mean(dim=1)


def score(
    strength: Float64[Tensor, " channel"], alignment: Float64[Tensor, " channel"], form: Form, weight: float
) -> Float64[Tensor, " channel"]:
    """One score per channel of a module; `weight` is lambda and counts in sum, rank and zscore.

    sum: strength + weight * alignment (Eq. 2). product: strength * alignment (the authors' project page).
    norm and alignment: that term alone. rank, zscore: as sum, of the terms' ranks or standard scores within
    the module.
    """
    match form:
        case "sum":
            return strength + weight * alignment
        case "product":
            return strength * alignment
        case "norm":
            return strength
        case "alignment":
            return alignment
        case "rank":
            return ranks(strength) + weight * ranks(alignment)
        case "zscore":
            return standardised(strength) + weight * standardised(alignment)


def normalised(score: Float64[Tensor, " channel"], form: Form) -> Float64[Tensor, " channel"]:
    """Scores in units of the module's mean (mean 0: zeros), so that modules of unlike size can be compared.

    Ranks and standard scores have no unit already (and the latter's mean is 0): they stay as they are.
    """
    if form in ("rank", "zscore"):
        return score
    mean = score.mean()
    return score / mean if mean > 0 else torch.zeros_like(score)


def ranks(values: Float64[Tensor, " channel"]) -> Float64[Tensor, " channel"]:
    """Ranks in (0, 1], the largest value highest; equal values share the mean of their ranks."""
    ascending = values.sort().values
    smaller = torch.searchsorted(ascending, values)
    not_larger = torch.searchsorted(ascending, values, right=True)
    return (smaller + 1 + not_larger).double() / (2 * len(values))


def standardised(values: Float64[Tensor, " channel"]) -> Float64[Tensor, " channel"]:
    """Values minus their mean, over their standard deviation; zeros where all are equal."""
    if bool((values == values[0]).all()):
        return torch.zeros_like(values)
    return (values - values.mean()) / values.std(correction=0)
