"""Steps along the gradient: their length and direction, what they leave, and a resumed training."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from test_train import EXAMPLES, assert_equal, weights
from tiny import tiny_adapter, tiny_model
from untrigger.config import TrainOptions
from untrigger.errors import Interrupted
from untrigger.optimisers import GradientSteps
from untrigger.train import Hooks, response_loss_sum, train

OPTIONS = TrainOptions(optimiser="gradient", learning_rate=1e-3, epochs=2, batch_size=4)
WHOLE = TrainOptions(optimiser="gradient", learning_rate=1e-3, epochs=1, batch_size=len(EXAMPLES))


def test_one_step_is_the_gradient_of_all_records_at_adamws_length():
    ours, theirs = tiny_model(), tiny_model()
    before = weights(ours)
    train(ours, EXAMPLES, WHOLE, seed=0)
    total = sum(len(example.response) for example in EXAMPLES)
    (response_loss_sum(theirs, EXAMPLES, []) / total).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    norm = sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    entries = sum(g.numel() for g in gradients.values())
    for name, after in weights(ours).items():
        expected = -1e-3 * sqrt(entries) / norm * gradients[name]
        torch.testing.assert_close(after - before[name], expected, rtol=1e-3, atol=1e-6)


def test_the_step_is_as_long_as_the_first_of_adamw():
    gradient = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    lengths = []
    for kind in (lambda p: GradientSteps(p, 1e-2), lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0)):
        parameter = nn.Parameter(torch.zeros(40, 50))
        parameter.grad = gradient.clone()
        kind([parameter]).step()
        lengths.append(float(parameter.detach().norm()))
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3) == pytest.approx(1e-2 * sqrt(2000), rel=1e-3)


def test_without_a_gradient_nothing_moves():
    parameters = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    parameters[0].grad = torch.zeros(3)
    GradientSteps(parameters, 1.0).step()
    assert all(bool((parameter == 1).all()) for parameter in parameters)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_resumed_training_ends_at_the_same_weights(tmp_path, adapter):
    def fresh():
        return tiny_adapter(tiny_model()) if adapter else tiny_model()

    whole, broken, resumed = fresh(), fresh(), fresh()
    train(whole, EXAMPLES, OPTIONS, seed=3)
    steps = []
    hooks = Hooks(on_step=steps.append, stop=lambda: len(steps) == 4, state_folder=tmp_path / "state")
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(broken, EXAMPLES, OPTIONS, seed=3, hooks=hooks)
    train(resumed, EXAMPLES, OPTIONS, seed=3, hooks=Hooks(state_folder=tmp_path / "state"))
    assert_equal(weights(whole), weights(resumed))


def test_training_along_the_gradient_lowers_the_loss():
    outcome = train(tiny_model(), EXAMPLES, OPTIONS.model_copy(update={"epochs": 8}), seed=0)
    assert outcome.last_loss < outcome.first_loss


def test_decay_belongs_to_adamw():
    with pytest.raises(ValidationError, match="weight decay is AdamW's"):
        TrainOptions(optimiser="gradient", weight_decay=0.1)
