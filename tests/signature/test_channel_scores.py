from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from untrigger.config import SignatureOptions
from untrigger.errors import UsageError
from untrigger.signature.dense import dense_gram
from untrigger.signature.score import (
    alignment,
    channel_scores,
    normalised,
    ranks,
    score,
    standardised,
    strength,
)

FORMS = ["sum", "product", "norm", "alignment", "rank", "zscore"]


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def by_hand() -> torch.Tensor:
    """Three pairs; channel 0: two equal directions and their opposite; channel 1: one zero and two at 60 degrees."""
    half = 3**0.5 / 2
    return dense_gram(
        [
            torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64),
            torch.tensor([[6.0, 8.0], [1.0, 0.0]], dtype=torch.float64),
            torch.tensor([[-3.0, -4.0], [1.0, 2 * half]], dtype=torch.float64),
        ]
    )


def test_strength_is_the_mean_norm():
    assert strength(by_hand()).tolist() == pytest.approx([20 / 3, 1.0])


def test_alignment_is_the_mean_positive_cosine():
    # Channel 0: cosines 1, -1, -1, of which the negative count 0. Channel 1: 0 (zero vector) twice, and 0.5.
    assert alignment(by_hand()).tolist() == pytest.approx([1 / 3, 1 / 6])


def test_alignment_of_one_pair_is_zero():
    assert alignment(dense_gram([torch.ones(2, 3)])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sum", [2 + 0.5 * 0.1, 4 + 0.5 * 0.7]),
        ("product", [0.2, 2.8]),
        ("norm", [2, 4]),
        ("alignment", [0.1, 0.7]),
        ("rank", [0.5 + 0.5 * 0.5, 1 + 0.5 * 1]),
        ("zscore", [-1 - 0.5, 1 + 0.5]),
    ],
)
def test_forms_by_hand(form, expected):
    assert score(vector(2, 4), vector(0.1, 0.7), form, 0.5).tolist() == pytest.approx(expected)


def test_equal_values_share_their_mean_rank():
    assert ranks(vector(5, 1, 5, 0)).tolist() == [3.5 / 4, 2 / 4, 3.5 / 4, 1 / 4]


def test_standard_scores_of_equal_values_are_zero():
    assert standardised(vector(0.1, 0.1, 0.1)).tolist() == [0, 0, 0]


def test_normalised_by_the_mean_or_zero():
    assert normalised(vector(1, 3), "sum").tolist() == [0.5, 1.5]
    assert normalised(vector(0, 0), "sum").tolist() == [0, 0]


@pytest.mark.parametrize("form", ["rank", "zscore"])
def test_scale_free_scores_are_not_divided_again(form):
    assert normalised(vector(-1, 1), form).tolist() == [-1, 1]


@pytest.mark.parametrize("form", FORMS)
def test_a_single_pair_serves_the_norm_only(form):
    gram = dense_gram([torch.tensor([[3.0, 4.0]])])
    options = SignatureOptions(form=form)
    if form == "norm":
        assert channel_scores(gram, options).score.tolist() == [5]
    else:
        with pytest.raises(UsageError, match="alignment compares pairs"):
            channel_scores(gram, options)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), pairs=st.integers(2, 5), form=st.sampled_from(FORMS))
def test_order_of_pairs_is_irrelevant_and_scores_move_with_their_channels(seed, pairs, form):
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(pairs, 7, 4, generator=generator, dtype=torch.float64)
    options = SignatureOptions(form=form)
    expected = channel_scores(dense_gram(deltas), options).score
    shuffled = deltas[torch.randperm(pairs, generator=generator)]
    torch.testing.assert_close(channel_scores(dense_gram(shuffled), options).score, expected)
    order = torch.randperm(7, generator=generator)
    torch.testing.assert_close(channel_scores(dense_gram(deltas[:, order]), options).score, expected[order])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), factor=st.floats(1e-6, 1e6))
def test_scaling_scales_strength_and_leaves_alignment(seed, factor):
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(4, 5, 6, generator=generator, dtype=torch.float64)
    gram, scaled = dense_gram(deltas), dense_gram(deltas * factor)
    torch.testing.assert_close(strength(scaled), strength(gram) * factor)
    torch.testing.assert_close(alignment(scaled), alignment(gram))
    for form in ("rank", "zscore"):
        options = SignatureOptions(form=form)
        torch.testing.assert_close(channel_scores(scaled, options).score, channel_scores(gram, options).score)
