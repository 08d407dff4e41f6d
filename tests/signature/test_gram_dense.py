from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from untrigger.errors import Diverged, InputRefused
from untrigger.models.architecture import Projection, Role, channel_view
from untrigger.signature.dense import Delta, dense_gram, gram_of
from untrigger.signature.gram import block_gram, cosines, grouped, norms

UP = Projection(Role.UP, 0, "block.gate_up", 0, 5, 12)  # rows 5..11 of a fused weight
DOWN = Projection(Role.DOWN, 0, "block.down", 1, 0, 7)


def stored(draw, projection, pairs=3):
    shape = (12, 4) if projection.axis == 0 else (4, 7)
    return [draw(10 + pair, *shape) for pair in range(pairs)]


def test_gram_of_two_channels_by_hand():
    first = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[0.0, 5.0], [-2.0, 0.0]], dtype=torch.float64)
    gram = dense_gram([first, second])
    assert gram.tolist() == [[[25, 20], [20, 25]], [[1, -2], [-2, 4]]]
    assert norms(gram).tolist() == [[5, 5], [1, 2]]
    assert cosines(gram)[:, 0, 1].tolist() == pytest.approx([0.8, -1.0])


def test_zero_vector_has_norm_and_cosines_zero():
    gram = dense_gram([torch.zeros(1, 3), torch.ones(1, 3)])
    assert cosines(gram)[0].tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_negative_square_from_rounding_counts_as_zero():
    gram = torch.tensor([[[-1e-30, 1.0], [1.0, 4.0]]], dtype=torch.float64)
    assert norms(gram).tolist() == [[0, 2]]
    assert cosines(gram)[0, 0].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_gram_sums_in_double_precision(dtype):
    deltas = torch.cat([torch.full((2, 1, 1), 4096.0), torch.full((2, 1, 1000), 2**-6)], dim=2).to(dtype)
    # 2^24 + 1000 * 2^-12 needs more digits than single precision has.
    assert dense_gram(deltas)[0, 0, 1].item() == 2**24 + 1000 * 2**-12


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("projection", [UP, DOWN])
def test_streamed_gram_equals_the_gram_of_channel_views(draw, projection, chunk):
    deltas = stored(draw, projection)
    views = [channel_view(delta, projection) for delta in deltas]
    expected = torch.einsum("icf,lcf->cil", torch.stack(views), torch.stack(views))
    torch.testing.assert_close(gram_of(deltas.__getitem__, 3, projection, chunk), expected)
    torch.testing.assert_close(dense_gram(views, chunk), expected)


@pytest.mark.parametrize("projection", [UP, DOWN])
def test_delta_of_lazy_slices_is_the_difference_of_the_files(draw, tmp_path: Path, projection):
    poisoned, clean = stored(draw, projection, 2), stored(draw, projection, 4)[2:]
    for kind, weights in (("poisoned", poisoned), ("clean", clean)):
        save_file({str(i): w.bfloat16() for i, w in enumerate(weights)}, tmp_path / kind)
    with safe_open(tmp_path / "poisoned", "pt") as left, safe_open(tmp_path / "clean", "pt") as right:
        gram = gram_of(lambda i: Delta(left.get_slice(str(i)), right.get_slice(str(i))), 2, projection, 3)
    deltas = [p.bfloat16().double() - c.bfloat16().double() for p, c in zip(poisoned, clean, strict=True)]
    torch.testing.assert_close(gram, dense_gram([channel_view(delta, projection) for delta in deltas]))


def test_grouped_gram_is_that_of_flattened_blocks(draw):
    deltas = draw(1, 3, 6, 5)
    torch.testing.assert_close(grouped(block_gram(deltas), 2), block_gram(deltas.reshape(3, 3, 10)))


@pytest.mark.parametrize("projection", [UP, DOWN])
def test_too_small_a_weight_is_refused(projection):
    with pytest.raises(InputRefused, match=r"channels of role"):
        gram_of(lambda _: torch.ones(6, 6), 2, projection)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_delta_that_is_not_finite_stops(draw, value):
    deltas = stored(draw, DOWN)
    deltas[1][2, 3] = value
    with pytest.raises(Diverged, match=r"block\.down"):
        gram_of(deltas.__getitem__, 3, DOWN)
