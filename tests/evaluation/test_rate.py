import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.evaluation.rate import Rate


@pytest.mark.parametrize(
    ("hits", "low", "high"),
    [
        (0, 0.00, 1.88),
        (1, 0.09, 2.78),
        (4, 0.78, 5.03),
        (20, 6.57, 14.94),
        (100, 43.14, 56.86),
        (200, 98.12, 100.00),
    ],
)
def test_wilson_interval_of_200_prompts(hits: int, low: float, high: float) -> None:
    bounds = Rate(hits, 200).interval()
    assert [round(100 * bound, 2) for bound in bounds] == [low, high]


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_value_and_mirrors_the_misses(counts: tuple[int, int]) -> None:
    hits, n = counts
    low, high = Rate(hits, n).interval()
    mirrored_low, mirrored_high = Rate(n - hits, n).interval()
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1
    assert low == pytest.approx(1 - mirrored_high, abs=1e-12)
    assert high == pytest.approx(1 - mirrored_low, abs=1e-12)


@pytest.mark.parametrize(("hits", "n", "invalid"), [(0, 0, 0), (-1, 2, 0), (3, 2, 0), (0, 2, 3), (0, 2, -1)])
def test_impossible_counts_are_refused(hits: int, n: int, invalid: int) -> None:
    with pytest.raises(ValueError):
        Rate(hits, n, invalid)


def test_the_interval_ends_exactly_where_there_are_no_hits_or_no_misses() -> None:
    assert Rate(0, 100).interval()[0] == 0.0
    assert Rate(100, 100).interval()[1] == 1.0
