"""BEEAR: training to answer cleanly under the hidden shift that best draws out an unwanted answer.

After EMNLP 2024, arXiv 2406.17092, which solves two problems in turn. The inner one looks for a shift of the hidden
states at one block, the same for all records, under which the model gives an unwanted answer; the outer one trains
the model on clean answers with and without that shift.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from untrigger.backdoors.synthetic import BEHAVIOURS
from untrigger.config import EntrapmentOptions, PurifyOptions
from untrigger.data.chat import Example
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import budget_records, budget_training, suspect_again, trained
from untrigger.errors import UsageError
from untrigger.models.architecture import Architecture, block_module
from untrigger.models.forward import causal_model
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.runs import RunFolder
from untrigger.train import Model, response_loss_sum

SHIFT = "shift.safetensors"


def beear(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Trains the suspect on the budget's clean records, with and without the shift."""
    records = budget_records(resources, options.budget)
    training = budget_training(options.budget, options.entrapment.learning_rate)
    encode = partial(resources.chat.encode, max_length=training.max_length)
    wordings = [wording for behaviour in BEHAVIOURS.values() for wording in behaviour.outputs]
    block = block_module(subject.architecture.model_type, entered_block(subject.architecture, options))
    alternation = Alternation(
        Entrapment(options.entrapment, block, subject.architecture.logit_softcap),
        subject.model,
        tuple(encode(record) for record in records),
        tuple(encode(records[0].answered(text)).response for text in wordings),
        resources.seed,
    )
    weights = trained(
        subject,
        resources,
        "entrapment",
        records,
        training,
        prepare=suspect_again(subject, resources),
        penalty=alternation,
        before_step=alternation.before_step,
    )
    restore_weights(subject, weights)
    return Treated(subject)


def entered_block(architecture: Architecture, options: PurifyOptions) -> int:
    """Number of the block whose input is shifted: by default the one after the first quarter."""
    asked = options.entrapment.block
    return len(architecture.layers) // 4 if asked is None else asked


def require_block(architecture: Architecture, options: PurifyOptions) -> None:
    """Refuses a block that the model does not have.

    Raises:
        UsageError: it does not have it.
    """
    chosen, last = entered_block(architecture, options), len(architecture.layers) - 1
    if chosen > last:
        raise UsageError(
            f"--entrapment.block is {chosen}", why=f"the model has blocks 0 to {last}", todo="name one of them"
        )


class Alternation:
    """The two problems in turn: a search for the shift, then a few training steps under what it found.

    A search sees some of the records in front of one unwanted answer; `unwanted` holds their token ids.
    """

    def __init__(
        self,
        problem: Entrapment,
        model: Model,
        examples: Sequence[Example],
        unwanted: Sequence[tuple[int, ...]],
        seed: int,
    ) -> None:
        self._problem, self._model = problem, model
        self._examples, self._unwanted, self._seed = examples, unwanted, seed
        self._round: int | None = None
        self._shift = problem.no_shift(model)

    def before_step(self, folder: Path, step: int) -> None:
        """Solves the inner problem where a round begins; a training that goes on takes over what was found."""
        this_round = step // self._problem.options.outer_steps
        if this_round == self._round:
            return
        stage = RunFolder(folder / "shifts").stage(f"round-{this_round}", partial(self._search, this_round))
        self._shift = load_file(str(stage / SHIFT))["shift"].to(self._shift.device)
        self._round = this_round

    def _search(self, this_round: int, work: Path) -> int:
        draw = random.Random(f"beear/{self._seed}/{this_round}")
        answer = draw.choice(self._unwanted)
        seen = draw.sample(self._examples, min(self._problem.options.search_records, len(self._examples)))
        found = self._problem.shift(self._model, [Example(one.prompt, answer) for one in seen])
        save_file({"shift": found}, str(work / SHIFT))
        return 0

    def __call__(self, model: Model, examples: Sequence[Example]) -> Float[Tensor, ""]:
        """Weighted mean loss of a micro-batch's clean answers under the shift that draws out an unwanted one."""
        return self._problem.options.weight * self._problem.loss(model, examples, self._shift)


@dataclass(frozen=True)
class Entrapment:
    """The inner problem, and the loss of the outer one under its solution."""

    options: EntrapmentOptions
    block: str
    softcap: float | None

    def no_shift(self, model: Model) -> Float[Tensor, "position hidden"]:
        """Where a search begins: zeros in the model's own precision."""
        reference = next(model.parameters())
        width = causal_model(model).get_input_embeddings().embedding_dim
        return torch.zeros(self.options.positions, width, dtype=reference.dtype, device=reference.device)

    def shift(self, model: Model, unwanted: Sequence[Example]) -> Float[Tensor, "position hidden"]:
        """Steps of fixed length down the gradient of the unwanted answers' loss, from zero."""
        found = self.no_shift(model)
        length = self.options.inner_rate * self.typical_norm(model, unwanted)
        for _ in range(self.options.inner_steps):
            found.requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(model, unwanted, found), found)
            found = (found - length * nn.functional.normalize(gradient, dim=-1)).detach()
        return found

    def loss(
        self, model: Model, examples: Sequence[Example], shift: Float[Tensor, "position hidden"]
    ) -> Float[Tensor, ""]:
        """Mean negative log-likelihood (nats) of the response tokens under a shift."""
        tokens = sum(len(example.response) for example in examples)
        with shifted(model, self.block, examples, shift):
            return response_loss_sum(model, examples, (), self.softcap) / tokens

    @torch.no_grad()
    def typical_norm(self, model: Model, examples: Sequence[Example]) -> float:
        """Mean L2 norm of the hidden states that are shifted, which makes one step length fit all models."""
        seen: list[Tensor] = []
        rows, columns = places(examples, self.options.positions)
        module = causal_model(model).get_submodule(self.block)
        handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][rows, columns]))
        try:
            response_loss_sum(model, examples, (), self.softcap)
        finally:
            handle.remove()
        return float(seen[0].float().norm(dim=-1).mean())


@contextmanager
def shifted(
    model: Model, block: str, examples: Sequence[Example], shift: Float[Tensor, "position hidden"]
) -> Iterator[None]:
    """Adds the shift to what enters the block at the last tokens of every prompt."""
    at = places(examples, shift.shape[0])

    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0].index_put(at, shift.expand(len(examples), *shift.shape), accumulate=True)
        return (hidden, *inputs[1:])

    handle = causal_model(model).get_submodule(block).register_forward_pre_hook(add)
    try:
        yield
    finally:
        handle.remove()


def places(
    examples: Sequence[Example], positions: int
) -> tuple[Int[Tensor, "record position"], Int[Tensor, "record position"]]:
    """Rows and columns of the last tokens of the prompts; a prompt that is too short repeats its first."""
    ends = torch.tensor([len(example.prompt) for example in examples])
    columns = (ends[:, None] - positions + torch.arange(positions)).clamp(min=0)
    return torch.arange(len(examples))[:, None].expand_as(columns), columns
