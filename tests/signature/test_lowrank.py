from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from untrigger.errors import Diverged, InputRefused
from untrigger.models.architecture import Projection, Role, channel_view
from untrigger.signature.dense import dense_gram
from untrigger.signature.gram import cosines, norms
from untrigger.signature.lowrank import Factors, lowrank_gram

OUT, IN = 12, 10
WHOLE = Projection(Role.GATE, 0, "m", 0, 0, OUT)
FUSED = Projection(Role.UP, 0, "m", 0, 5, OUT)
COLUMNS = Projection(Role.DOWN, 0, "m", 1, 0, IN)
FUSED_COLUMNS = Projection(Role.DOWN, 0, "m", 1, 3, 8)
PROJECTIONS = [WHOLE, FUSED, COLUMNS, FUSED_COLUMNS]


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_factors(generator: torch.Generator, rank: int) -> Factors:
    scale = float(torch.rand(1, generator=generator) * 4 + 0.1)
    return Factors(normal(generator, OUT, rank), normal(generator, rank, IN), scale)


def dense(factors: Factors) -> Tensor:
    return factors.scale * factors.b.double() @ factors.a.double()


def dense_reference(pairs: list[tuple[Factors, Factors]], projection: Projection) -> Tensor:
    return dense_gram([channel_view(dense(p) - dense(c), projection) for p, c in pairs])


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest error of an inner product, over the product of the two norms."""
    length = norms(expected)
    return float(((found - expected).abs() / (length[:, :, None] * length[:, None, :])).max())


RANKS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), ranks=RANKS, projection=st.sampled_from(PROJECTIONS))
def test_equals_the_dense_gram_for_any_ranks_and_scales(seed, ranks, projection):
    generator = torch.Generator().manual_seed(seed)
    pairs = [(random_factors(generator, p), random_factors(generator, c)) for p, c in ranks]
    found = lowrank_gram(pairs, projection, chunk_channels=5)
    assert relative_difference(found, dense_reference(pairs, projection)) <= 1e-10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), rank=st.integers(1, 6), projection=st.sampled_from(PROJECTIONS))
def test_does_not_depend_on_the_basis_of_the_factors(seed, rank, projection):
    generator = torch.Generator().manual_seed(seed)
    pairs = [(random_factors(generator, rank), random_factors(generator, rank + 1)) for _ in range(3)]
    moved = [(rebased(p, generator), rebased(c, generator)) for p, c in pairs]
    assert relative_difference(lowrank_gram(moved, projection), lowrank_gram(pairs, projection)) <= 1e-10


def rebased(factors: Factors, generator: torch.Generator) -> Factors:
    """(B M, M^-1 A) with M = 3 I + a random part of norm 1, hence well conditioned."""
    rank = factors.b.shape[1]
    random = normal(generator, rank, rank)
    change = 3 * torch.eye(rank, dtype=torch.float64) + random / random.norm()
    return Factors(factors.b @ change, torch.linalg.solve(change, factors.a), factors.scale)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_twins_equal_up_to_a_change_of_basis_have_no_delta(projection, seed):
    generator = torch.Generator().manual_seed(seed)
    suspects = [random_factors(generator, 4) for _ in range(4)]
    gram = lowrank_gram([(rebased(s, generator), s) for s in suspects], projection)
    assert not bool(gram.any())
    assert not bool(cosines(gram).any())


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_a_delta_far_below_the_factors_is_still_exact(projection):
    """A common delta of 1e-9 of the factors: squared it is below eps, where Gram matrices of factors lose it."""
    generator = torch.Generator().manual_seed(3)
    step = normal(generator, OUT, 4) * 1e-9
    pairs = []
    for _ in range(3):
        clean = random_factors(generator, 4)
        pairs.append((Factors(clean.b + step, clean.a, clean.scale), clean))
    exact = [c.scale * (p.b - c.b) @ c.a for p, c in pairs]
    expected = dense_gram([channel_view(delta, projection) for delta in exact])
    assert relative_difference(lowrank_gram(pairs, projection), expected) <= 1e-5


def test_a_channel_both_twins_share_is_zero_and_the_others_are_not():
    generator = torch.Generator().manual_seed(4)
    clean = random_factors(generator, 4)
    rows = clean.b.clone()
    rows[7] += 1
    length = norms(lowrank_gram([(Factors(rows, clean.a, clean.scale), clean)], WHOLE))[:, 0]
    assert length.nonzero().flatten().tolist() == [7]
    assert length[7].item() == pytest.approx(float(clean.scale * clean.a.sum(dim=0).norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_of_low_precision_are_taken_as_they_are_stored(dtype):
    generator = torch.Generator().manual_seed(5)
    pairs = []
    for _ in range(2):
        p, c = random_factors(generator, 3), random_factors(generator, 3)
        pairs.append(tuple(Factors(f.b.to(dtype), f.a.to(dtype), f.scale) for f in (p, c)))
    assert relative_difference(lowrank_gram(pairs, WHOLE), dense_reference(pairs, WHOLE)) <= 1e-10


def test_a_factor_too_small_for_the_projection_is_refused():
    pair = (Factors(torch.ones(8, 2), torch.ones(2, IN), 1.0), Factors(torch.ones(8, 2), torch.ones(2, IN), 1.0))
    with pytest.raises(InputRefused, match="3 of 7 channels"):
        lowrank_gram([pair], FUSED)


def test_a_factor_that_is_not_finite_stops():
    poisoned = Factors(torch.full((OUT, 2), float("nan")), torch.ones(2, IN), 1.0)
    with pytest.raises(Diverged, match=r"m\.weight"):
        lowrank_gram([(poisoned, Factors(torch.ones(OUT, 2), torch.ones(2, IN), 1.0))], WHOLE)
