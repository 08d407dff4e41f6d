from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny import tiny_architecture
from untrigger.analysis.anatomy import rank_agreement, spearman
from untrigger.config import SignatureOptions
from untrigger.errors import UsageError
from untrigger.models.architecture import MLP_ROLES
from untrigger.signature.dense import dense_gram
from untrigger.signature.overlap import Stability, overlap, stability
from untrigger.signature.score import ChannelScores
from untrigger.signature.select import ScoreTable, select_signature
from untrigger.signature.types import Signature

PROJECTIONS = tiny_architecture().projections(*MLP_ROLES)


def signature(*channels: int) -> Signature:
    return Signature({projection: channels for projection in PROJECTIONS})


def table(score: torch.Tensor) -> ScoreTable:
    return ScoreTable({p: ChannelScores(score, score, score) for p in PROJECTIONS}, {})


def test_overlap_counts_shared_channels_against_chance():
    found = overlap(signature(0, 1, 2, 3), signature(2, 3, 4, 5, 6, 7))
    places = len(PROJECTIONS)
    assert (found.shared, found.union) == (2 * places, 8 * places)
    assert found.jaccard == 0.25
    assert found.expected_shared == pytest.approx(places * 4 * 6 / 24)
    assert found.expected_jaccard == pytest.approx(1 / 9)


def test_a_signature_overlaps_wholly_with_itself_and_an_empty_one_has_no_overlap():
    assert overlap(signature(3, 5), signature(3, 5)).jaccard == 1
    empty = overlap(signature(), signature())
    assert empty.jaccard is None and empty.expected_jaccard is None


def test_chance_is_the_mean_over_random_signatures():
    draw = random.Random(0)
    shared = [
        overlap(signature(*sorted(draw.sample(range(24), 6))), signature(*sorted(draw.sample(range(24), 8)))).shared
        for _ in range(2000)
    ]
    assert sum(shared) / len(shared) == pytest.approx(len(PROJECTIONS) * 2, rel=0.05)


def test_signatures_of_unlike_models_are_refused():
    with pytest.raises(UsageError, match="different projections"):
        overlap(signature(1), Signature({PROJECTIONS[0]: (1,)}))


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=30, unique=True))
def test_spearman_sees_order_alone(values):
    first = torch.tensor(values, dtype=torch.float64)
    assert spearman(first, first**3) == pytest.approx(1)
    assert spearman(first, -first) == pytest.approx(-1)


def test_spearman_shares_ranks_among_ties_and_has_none_for_constants():
    first = torch.tensor([1.0, 2.0, 2.0, 4.0], dtype=torch.float64)
    second = torch.tensor([1.0, 3.0, 2.0, 4.0], dtype=torch.float64)
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: covariance 4.5 over sqrt(4.5 * 5).
    assert spearman(first, second) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman(first, torch.ones_like(first)) is None


def test_rank_agreement_is_unknown_without_scores():
    score = torch.arange(24, dtype=torch.float64)
    assert rank_agreement(table(score), table(score.flip(0))) == pytest.approx(-1)
    assert rank_agreement(table(score), ScoreTable({}, {})) is None


def grams(*deltas: torch.Tensor):
    """The same deltas, a [channel, fan] matrix a pair, in every projection."""
    return {projection: dense_gram(torch.stack(deltas)) for projection in PROJECTIONS}


def settled(*deltas: torch.Tensor) -> tuple[Stability, ...]:
    found, architecture, options = grams(*deltas), tiny_architecture(), SignatureOptions(ratio=0.25)
    return stability(select_signature(found, architecture, options), found, architecture, options)


def test_a_signature_of_like_pairs_is_settled_from_the_start():
    delta = torch.randn(24, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = settled(delta, delta, delta, delta)
    assert [(one.pairs, one.jaccard) for one in found] == [(2, 1.0), (3, 1.0)]
    assert all(one.expected_jaccard == pytest.approx(1 / 7) for one in found)


def test_unlike_pairs_settle_as_they_are_added():
    generator = torch.Generator().manual_seed(1)
    found = settled(*(torch.randn(24, 5, dtype=torch.float64, generator=generator) for _ in range(40)))
    assert [one.pairs for one in found] == list(range(2, 40))
    assert found[0].jaccard < found[-1].jaccard and found[-1].jaccard > 0.7


def test_pairs_without_a_difference_settle_nothing():
    delta = torch.randn(24, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert settled(0 * delta, 0 * delta, delta)[0] == Stability(pairs=2, jaccard=None, expected_jaccard=None)
