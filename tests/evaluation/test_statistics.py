from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.errors import UsageError
from untrigger.evaluation.statistics import holm, mcnemar, paired_bootstrap, resampled_means, stratified_bootstrap


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (9, 2, 0.06543),  # printed by R's exact2x2 for the table 21, 9, 2, 12
        (5, 0, 2 / 32),
        (1, 9, 2 * (1 + 10) / 1024),
        (0, 0, 1.0),
        (1, 1, 1.0),
        (3, 4, 1.0),
    ],
)
def test_mcnemar_known_values(only_first: int, only_second: int, p_value: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p_value, abs=5e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_sums_all_splits_that_are_no_likelier(first: int, second: int) -> None:
    n = first + second
    no_likelier = sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, first))
    assert mcnemar(first, second) == mcnemar(second, first)
    assert mcnemar(first, second) == pytest.approx(no_likelier / 2**n)


def test_mcnemar_survives_large_counts() -> None:
    assert mcnemar(14_000, 0) == 0.0
    assert 0.9 < mcnemar(7000, 6990) < 1.0


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError):
        mcnemar(-1, 2)


def test_bootstrap_of_a_constant_difference_has_no_width() -> None:
    found = paired_bootstrap([0.0, 1.0, 5.0], [2.0, 3.0, 7.0], np.random.default_rng(0), draws=50)
    assert (found.estimate, found.low, found.high, found.n) == (2.0, 2.0, 2.0, 3)


def test_bootstrap_of_one_in_two_is_the_binomial() -> None:
    # Resampled means of (0, 1) are 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4: so 95 % need all of it.
    found = paired_bootstrap([0.0, 0.0], [0.0, 1.0], np.random.default_rng(1), draws=2000)
    assert (found.estimate, found.low, found.high) == (0.5, 0.0, 1.0)


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    second = np.random.default_rng(2).normal(1.0, 2.0, size=400)
    found = paired_bootstrap([0.0] * 400, list(second), np.random.default_rng(3), draws=4000)
    half = 1.96 * float(second.std()) / sqrt(400)
    assert found.low == pytest.approx(found.estimate - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.estimate + half, abs=0.1 * half)


def test_bootstrap_pairs_cancel_what_both_share() -> None:
    shared = list(np.random.default_rng(4).normal(0, 100, size=50))
    found = paired_bootstrap(shared, [value + 1 for value in shared], np.random.default_rng(5), draws=200)
    assert found.low == pytest.approx(1.0) and found.high == pytest.approx(1.0)


def test_bootstrap_repeats_with_its_seed_alone() -> None:
    series = ([0.0] * 9, [0.1, 0.7, 0.2, 0.9, 0.4, 0.3, 0.8, 0.6, 0.5])
    runs = [paired_bootstrap(*series, np.random.default_rng(seed), draws=100) for seed in (6, 6, 7)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], []), ([1.0], [1.0, 2.0])])
def test_bootstrap_needs_pairs(first: list[float], second: list[float]) -> None:
    with pytest.raises(UsageError):
        paired_bootstrap(first, second, np.random.default_rng(0))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_the_plain_and_bonferronis(p_values: list[float]) -> None:
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= min(1.0, plain * len(p_values) + 1e-12)


def test_strata_are_resampled_by_themselves_and_weigh_the_same() -> None:
    strata = [([0.0] * 4, [1.0] * 4), ([0.0] * 400, [0.0, 0.5] * 200)]
    found = stratified_bootstrap(strata, np.random.default_rng(0), draws=4000)
    assert (found.estimate, found.n) == (0.625, 404)
    half = 1.96 * 0.25 / sqrt(400) / 2  # the first stratum never varies; the second counts half
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_one_stratum_is_the_paired_bootstrap() -> None:
    first, second = [0.0, 1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0, 1.0]
    plain = paired_bootstrap(first, second, np.random.default_rng(4))
    assert stratified_bootstrap([(first, second)], np.random.default_rng(4)) == plain


@pytest.mark.parametrize("strata", [[], [([], [])], [([1.0], [1.0, 2.0])]])
def test_strata_without_pairs_are_refused(strata: list[tuple[list[float], list[float]]]) -> None:
    with pytest.raises(UsageError, match="stratum"):
        stratified_bootstrap(strata, np.random.default_rng(0))


def test_counts_are_drawn_as_values_are() -> None:
    few = np.array([0.0, 1.0, 1.0, 0.0, -1.0] * 20)
    many = few + np.linspace(0, 1e-9, 100)  # as good as equal, but every value is another one
    quantiles = [
        np.quantile(resampled_means(values, np.random.default_rng(2), 20_000), (0.025, 0.5, 0.975))
        for values in (few, many)
    ]
    assert quantiles[0] == pytest.approx(quantiles[1], abs=0.011)
