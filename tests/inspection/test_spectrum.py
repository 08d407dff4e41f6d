"""Norms of an update from its factors' Gram matrices, and what counts as an outlier."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from untrigger.inspection.spectrum import (
    FEWEST_LAYERS,
    OUTLIER_FACTOR,
    OUTLIER_SCORE,
    outliers,
    role_of,
    row_gram,
    spectrum,
)


def of_factors(a: torch.Tensor, b: torch.Tensor, scale: float = 1.0):
    found = spectrum(row_gram(a), row_gram(b.t()), scale)
    assert found is not None
    return found


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 100))
def test_norms_are_those_of_the_dense_product(seed: int, rank: int, rows: int, columns: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    b = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    values = torch.linalg.svdvals(scale * b @ a)
    found = of_factors(a, b, scale)
    assert found.frobenius == pytest.approx(float(values.norm()), rel=1e-6)
    assert found.spectral == pytest.approx(float(values[0]), rel=1e-6)
    assert found.stable_rank == pytest.approx(float((values**2).sum() / values[0] ** 2), rel=1e-6)
    assert found.rank == rank


def test_orthogonal_factors_have_full_stable_rank_and_a_repeated_one_has_one() -> None:
    eye = torch.eye(3)
    assert of_factors(eye, 2 * eye).stable_rank == pytest.approx(3)
    assert of_factors(eye, 2 * eye).frobenius == pytest.approx(2 * sqrt(3))
    assert of_factors(torch.ones(3, 4), torch.ones(5, 3)).stable_rank == pytest.approx(1)


def test_a_zero_factor_gives_a_zero_update_and_infinite_ones_none() -> None:
    zero = of_factors(torch.ones(2, 3), torch.zeros(4, 2))
    assert (zero.frobenius, zero.spectral, zero.stable_rank) == (0, 0, 0)
    assert spectrum(row_gram(torch.full((1, 2), 1e200, dtype=torch.float64)), torch.ones(1, 1).double(), 1.0) is None
    assert spectrum(torch.full((1, 1), torch.nan).double(), torch.ones(1, 1).double(), 1.0) is None


def named(norms: list[float]) -> dict[str, float]:
    return {f"model.layers.{layer}.mlp.up_proj": norm for layer, norm in enumerate(norms)}


def test_one_strong_layer_among_equal_ones_is_striking() -> None:
    found = outliers(named([1.0, 1.0, 1.0, 5.0, 1.0]))
    (name,) = [name for name, one in found.items() if one.striking]
    assert name == "model.layers.3.mlp.up_proj"
    assert found[name].factor == pytest.approx(5) and found[name].score > OUTLIER_SCORE


SMALL = 0.95 * OUTLIER_FACTOR


@pytest.mark.parametrize(
    "norms", [[1.0, 1.0, 1.0, SMALL, 1.0], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], [1.0, 1.0, 1.0, 1e-3, 1.0]]
)
def test_weaker_layers_growing_norms_and_small_factors_are_not(norms: list[float]) -> None:
    assert not any(one.striking for one in outliers(named(norms)).values())


def test_few_layers_are_not_compared_nor_different_roles() -> None:
    assert outliers(named([1.0] * (FEWEST_LAYERS - 2) + [100.0])) == {}
    assert role_of("model.layers.11.mlp.up_proj") == role_of("model.layers.2.mlp.up_proj")
    assert role_of("model.layers.1.mlp.up_proj") != role_of("model.layers.1.mlp.down_proj")


@given(st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=9), st.floats(1e-6, 1e6))
def test_scores_do_not_depend_on_the_unit(norms: list[float], unit: float) -> None:
    one, other = outliers(named(norms)), outliers(named([unit * norm for norm in norms]))
    assert all(other[name].score == pytest.approx(found.score, abs=1e-6) for name, found in one.items())
