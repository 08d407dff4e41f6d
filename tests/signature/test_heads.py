from __future__ import annotations

import pytest
import torch

from untrigger.config import SignatureOptions
from untrigger.errors import InputRefused, UsageError
from untrigger.models.architecture import ATTENTION_ROLES, MLP_ROLES, ModelShape, Role, describe
from untrigger.signature.dense import dense_gram
from untrigger.signature.heads import head_channels, head_scores, top_heads
from untrigger.signature.select import select_signature
from untrigger.signature.types import Head

NORM = SignatureOptions(form="norm", heads=1)


def grams_of(deltas):
    return {projection: dense_gram(channels) for projection, channels in deltas.items()}


def attention_deltas(architecture, draw, scale=1.0):
    projections = architecture.projections(*ATTENTION_ROLES)
    return {p: scale * draw(100 + number, 3, p.channels, 16) for number, p in enumerate(projections)}


def test_score_is_the_mean_of_normalised_block_norms(tiny, draw):
    deltas = attention_deltas(tiny, draw)
    expected = []
    for role, heads in ((Role.Q, 4), (Role.K, 2), (Role.V, 2), (Role.O, 4)):
        (projection,) = (p for p in deltas if p.layer == 1 and p.role is role)
        norm = deltas[projection].reshape(3, heads, -1).norm(dim=-1).mean(dim=0)
        expected.append((norm / norm.mean()).repeat_interleave(4 // heads))
    found = head_scores(grams_of(deltas), tiny, NORM)
    torch.testing.assert_close(found[1], torch.stack(expected).mean(dim=0))


@pytest.mark.parametrize("form", ["sum", "product", "norm", "alignment", "rank", "zscore"])
def test_a_planted_head_is_found(tiny, draw, form):
    deltas = attention_deltas(tiny, draw, scale=0.1)
    for projection, channels in deltas.items():
        if projection.layer == 1 and projection.role in (Role.Q, Role.O):
            channels[:, 2 * 6 : 3 * 6] += 3 * draw(7, 6, 16)  # query head 2, the same direction in all pairs
    options = SignatureOptions(form=form, heads=1)
    assert select_signature(grams_of(deltas), tiny, options).heads == (Head(1, 2),)


def test_ties_go_to_the_lower_block_and_head():
    scores = {1: torch.ones(2, dtype=torch.float64), 0: torch.ones(2, dtype=torch.float64)}
    assert top_heads(scores, 3) == (Head(0, 0), Head(0, 1), Head(1, 0))


def test_many_ties_go_to_the_lowest_heads():
    assert top_heads({0: torch.zeros(5000, dtype=torch.float64)}, 40) == tuple(Head(0, h) for h in range(40))


def test_rows_of_a_group_belong_to_the_heads_only_when_all_its_query_heads_do(tiny):
    found = {p.role: channels for p, channels in head_channels([Head(0, 1), Head(0, 2), Head(0, 3)], tiny).items()}
    assert found[Role.Q] == found[Role.O] == tuple(range(6, 24))
    assert found[Role.K] == found[Role.V] == tuple(range(6, 12))  # group 1 = heads 2 and 3


def test_half_a_group_leaves_keys_and_values_alone(tiny):
    found = head_channels([Head(0, 0), Head(1, 1)], tiny)
    assert {(p.layer, p.role) for p in found} == {(0, Role.Q), (0, Role.O), (1, Role.Q), (1, Role.O)}


def test_without_grouping_each_head_owns_its_keys():
    plain = describe(ModelShape("llama", 1, 8, 4, 2, 2, 4))
    found = {p.role: channels for p, channels in head_channels([Head(0, 1)], plain).items()}
    assert found == dict.fromkeys(ATTENTION_ROLES, (4, 5, 6, 7))


def test_an_adapter_on_queries_and_values_only_is_scored_by_those(tiny, draw):
    deltas = attention_deltas(tiny, draw)
    partial = {p: d for p, d in deltas.items() if p.role in (Role.Q, Role.V)}
    signature = select_signature(grams_of(partial), tiny, SignatureOptions(heads=2))
    assert signature.channels == {}
    assert len(signature.heads) == 2


def test_heads_without_attention_modules_are_refused(tiny, draw):
    mlp = {p: dense_gram(draw(5, 2, p.channels, 3)) for p in tiny.projections(*MLP_ROLES)}
    with pytest.raises(InputRefused, match="no attention module"):
        select_signature(mlp, tiny, SignatureOptions(heads=1))


def test_more_heads_than_there_are_is_an_error(tiny, draw):
    with pytest.raises(UsageError, match="only 8"):
        select_signature(grams_of(attention_deltas(tiny, draw)), tiny, SignatureOptions(heads=9))
