"""Products by oneDNN are those of PyTorch's own linear layer, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tiny import FAMILY_NAMES, tiny_model
from untrigger.models import linear as module
from untrigger.models.linear import ONE_DNN, SMALLEST, OneDnnLinear, linear, product, use_one_dnn_

GENERATOR = torch.Generator().manual_seed(3)
TOKENS, INNER, OUTER = 64, 128, 256  # large enough for oneDNN


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64).to(dtype)


def multiplied_by_one_dnn(run) -> bool:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return any("mkldnn" in event.key for event in seen.key_averages())


def layers(bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """The same layer twice, ours and PyTorch's."""
    theirs = nn.Linear(INNER, OUTER, bias=bias)
    ours = nn.Sequential(nn.Linear(INNER, OUTER, bias=bias))
    ours[0].load_state_dict(theirs.state_dict())
    use_one_dnn_(ours)
    assert type(ours[0]) is OneDnnLinear
    return ours[0], theirs


@pytest.mark.skipif(not ONE_DNN, reason="this build of PyTorch lacks oneDNN")
def test_large_products_of_single_precision_are_one_dnns_and_no_others():
    x, weight = draw(TOKENS, INNER), draw(OUTER, INNER)
    assert TOKENS * INNER * OUTER >= SMALLEST
    assert multiplied_by_one_dnn(lambda: product(x, weight))
    assert not multiplied_by_one_dnn(lambda: product(x[:1], weight))
    assert not multiplied_by_one_dnn(lambda: product(x.double(), weight.double()))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_takes_views(transposed):
    x = draw(INNER, TOKENS).t() if transposed else draw(TOKENS, INNER)
    weight = draw(INNER, OUTER).t() if transposed else draw(OUTER, INNER)
    expected = (x.double() @ weight.double().t()).float()
    torch.testing.assert_close(product(x, weight), expected, rtol=1e-5, atol=1e-4)


def test_nothing_in_gives_nothing():
    assert product(draw(0, INNER), draw(OUTER, INNER)).shape == (0, OUTER)
    ours, _ = layers()
    assert ours(draw(2, 0, INNER)).shape == (2, 0, OUTER)


@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_the_plain_layer(bias):
    ours, theirs = layers(bias)
    found, expected = [], []
    x = draw(2, TOKENS, INNER)
    for layer, into in ((ours, found), (theirs, expected)):
        given = x.clone().requires_grad_()
        output = layer(given)
        output.square().mean().backward()
        into.extend([output, given.grad, *(parameter.grad for parameter in layer.parameters())])
    assert len(found) == (4 if bias else 3)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_are_exact_twice(monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 0)
    given = [draw(3, 4, dtype=torch.float64), draw(5, 4, dtype=torch.float64), draw(5, dtype=torch.float64)]
    inputs = [one.requires_grad_() for one in given]
    assert torch.autograd.gradcheck(linear, inputs)
    assert torch.autograd.gradgradcheck(linear, inputs)


def test_what_needs_no_gradient_gets_none():
    ours, _ = layers()
    ours.weight.requires_grad_(False)
    ours(draw(TOKENS, INNER)).sum().backward()
    assert ours.weight.grad is None and ours.bias.grad is not None


def test_other_precisions_and_autocast_are_left_to_pytorch():
    ours, theirs = layers()
    x = draw(TOKENS, INNER)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x)) and ours(x).dtype == torch.bfloat16
    assert torch.equal(ours.bfloat16()(x.bfloat16()), theirs.bfloat16()(x.bfloat16()))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_family_computes_the_same(family, monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 0)
    model, ids = tiny_model(family), torch.tensor([[3, 4, 5, 6, 7, 8]])
    names = list(model.state_dict())
    before = model(ids).logits
    use_one_dnn_(model)
    torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-5)
    assert any(isinstance(one, OneDnnLinear) for one in model.modules())
    assert list(model.state_dict()) == names
