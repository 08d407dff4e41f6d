"""Attention heads: their scores, and the channels that a set of heads stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from untrigger.config import SignatureOptions
from untrigger.errors import InputRefused, UsageError
from untrigger.models.architecture import ATTENTION_ROLES, Architecture, Projection, Role
from untrigger.signature.gram import Gram, grouped
from untrigger.signature.score import channel_scores, normalised
from untrigger.signature.types import Head

GROUP_ROLES = (Role.K, Role.V)


def head_scores(
    grams: Mapping[Projection, Gram], architecture: Architecture, options: SignatureOptions
) -> dict[int, Float64[Tensor, " head"]]:
    """Per block, one score per query head: the mean over q, k, v and o of the module-normalised role scores.

    A role's vector is the head's flattened block; k and v scores are those of the head's key-value group.
    Roles without a Gram matrix (an adapter need not touch all) are left out of the mean.
    """
    attention = [p for p in architecture.projections(*ATTENTION_ROLES) if p in grams]
    layers: dict[int, list[Tensor]] = {}
    for projection in attention:
        scores = _role_scores(grams[projection], projection, architecture, options)
        layers.setdefault(projection.layer, []).append(scores)
    return {layer: torch.stack(scores).mean(dim=0) for layer, scores in layers.items()}


def _role_scores(
    gram: Float64[Tensor, "channel pair pair"],
    projection: Projection,
    architecture: Architecture,
    options: SignatureOptions,
) -> Float64[Tensor, " head"]:
    scores = channel_scores(grouped(gram, architecture.head_dim), options).score
    scores = normalised(scores, options.form)
    shared = group_size(architecture) if projection.role in GROUP_ROLES else 1
    return scores.repeat_interleave(shared)


def top_heads(scores: Mapping[int, Float64[Tensor, " head"]], count: int) -> tuple[Head, ...]:
    """The `count` best heads of all blocks, in order of block and head; ties go to the lower one.

    Raises:
        InputRefused: heads are asked for, but nothing of the attention was scored.
        UsageError: more heads are asked for than there are.
    """
    if not count:
        return ()
    if not scores:
        raise InputRefused(
            "no attention module holds heads that can be scored",
            why="the adapter leaves the attention alone, or the family stores its heads interleaved",
            todo="set heads to 0",
        )
    heads = [Head(layer, head) for layer in sorted(scores) for head in range(len(scores[layer]))]
    if count > len(heads):
        raise UsageError(f"heads = {count}", why=f"only {len(heads)} were scored")
    pooled = torch.cat([scores[layer] for layer in sorted(scores)])
    best = pooled.argsort(descending=True, stable=True)[:count].tolist()
    return tuple(heads[index] for index in sorted(best))


def head_channels(heads: Collection[Head], architecture: Architecture) -> dict[Projection, tuple[int, ...]]:
    """The channels that belong to the heads: rows of q and columns of o, and rows of k and v.

    A key-value group's rows belong to the heads only if all query heads of the group are among them, since
    the others still read them.
    """
    chosen = {layer: {head.head for head in heads if head.layer == layer} for layer in {h.layer for h in heads}}
    result = {}
    for projection in architecture.projections(*ATTENTION_ROLES):
        queries = chosen.get(projection.layer, set())
        blocks = _whole_groups(queries, architecture) if projection.role in GROUP_ROLES else queries
        if blocks:
            result[projection] = _rows(blocks, architecture.head_dim)
    return result


def group_size(architecture: Architecture) -> int:
    """Query heads that share one key-value head."""
    return architecture.query_heads // architecture.key_value_heads


def _whole_groups(queries: Collection[int], architecture: Architecture) -> set[int]:
    size = group_size(architecture)
    groups = range(architecture.key_value_heads)
    return {group for group in groups if set(range(group * size, (group + 1) * size)) <= set(queries)}


def _rows(blocks: Iterable[int], size: int) -> tuple[int, ...]:
    return tuple(row for block in sorted(blocks) for row in range(block * size, (block + 1) * size))
