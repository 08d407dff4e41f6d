"""The one fine-tuning loop: full parameters or LoRA, response-only loss, exact resume.

The order of the data depends on the seed and on the lengths given for planning alone, so that a variant and its clean
twin see the same records at the same steps.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from untrigger.config import TrainOptions
from untrigger.data.chat import Example
from untrigger.errors import Diverged, Interrupted, OutOfMemory, UsageError
from untrigger.models.forward import collate, response_logits, shared_prefix
from untrigger.models.memory import in_batches, is_out_of_memory
from untrigger.models.state import embeddings_of, first_blocks_of, held
from untrigger.optimisers import optimiser_for
from untrigger.training_state import TrainingState, load_state, save_state

Model: TypeAlias = PreTrainedModel | PeftModel
Penalty: TypeAlias = Callable[[Model, Sequence[Example]], Tensor]
"""A further loss of a micro-batch, as a scalar mean over its tokens; counts by the micro-batch's share of them."""
BUCKET = 16  # batches sorted by length together: little padding, and batches still differ from epoch to epoch
CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class Progress:
    """Where a training stands; `seconds` counts this process only."""

    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens (prompts included, padding not) per second."""
        return self.tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Outcome:
    """What a finished training was: `tokens` counts prompt and response tokens of every epoch."""

    steps: int
    tokens: int
    seconds: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True)
class Hooks:
    """What a training talks to: progress, a wish to stop, and where to keep its state for resuming.

    `before_step` is called with the number of the step that follows, counted from 0; it may use the model as it is.
    """

    before_step: Callable[[int], None] | None = None
    on_step: Callable[[Progress], None] | None = None
    stop: Callable[[], bool] | None = None
    state_folder: Path | None = None
    state_seconds: float = CHECKPOINT_SECONDS


def plan_batches(lengths: Sequence[int], batch_size: int, epochs: int, seed: int) -> list[tuple[int, ...]]:
    """Record indices of every optimiser step: shuffled, with records of like length together."""
    batches: list[tuple[int, ...]] = []
    for epoch in range(epochs):
        shuffler = random.Random(f"batches/{seed}/{epoch}")
        order = list(range(len(lengths)))
        shuffler.shuffle(order)
        window = BUCKET * batch_size
        order = [
            index
            for start in range(0, len(order), window)
            for index in sorted(order[start : start + window], key=lambda i: lengths[i])
        ]
        epoch_batches = [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
        shuffler.shuffle(epoch_batches)
        batches.extend(epoch_batches)
    return batches


def learning_rate_at(step: int, steps: int, peak: float, warmup_ratio: float) -> float:
    """Linear warm-up over the first share of the steps, then a cosine to zero; `step` counts from 0."""
    warmup = math.ceil(steps * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    model: Model,
    examples: Sequence[Example],
    options: TrainOptions,
    *,
    seed: int,
    planned_lengths: Sequence[int] | None = None,
    frozen: Mapping[str, Tensor] | None = None,
    softcap: float | None = None,
    penalty: Penalty | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """Fine-tunes the parameters of `model` that require gradients, in place.

    Args:
        model: a causal language model, plain or with an adapter.
        examples: encoded records.
        options: recipe.
        seed: of the data order.
        planned_lengths: lengths the batches are planned from (default: the examples' own); twins share them.
        frozen: parameter name -> mask of entries that must not move.
        softcap: the architecture's logit soft cap.
        penalty: added to the loss; the losses that are reported leave it out.
        hooks: progress, stopping, resuming.

    Raises:
        UsageError: no examples, nothing trainable, or frozen entries together with weight decay.
        Diverged: a loss or gradient that is not finite.
        OutOfMemory: not even one record fits.
        Interrupted: `hooks.stop` asked for it; the state is saved.
    """
    if not examples:
        raise UsageError("there are no records to train on")
    lengths = [len(example) for example in examples] if planned_lengths is None else planned_lengths
    plan = plan_batches(lengths, options.batch_size, options.epochs, seed)
    still = [] if options.embeddings else embeddings_of(model)
    with held([*still, *first_blocks_of(model, options.last_blocks)]):
        loop = _Loop(model, examples, options, frozen or {}, softcap, penalty)
        return _run(loop, plan, hooks or Hooks())


def _run(loop: _Loop, plan: Sequence[tuple[int, ...]], hooks: Hooks) -> Outcome:
    """Every step of the plan that a saved state does not hold yet."""
    options = loop.options
    state = load_state(hooks.state_folder, loop.parameters, loop.optimiser) if hooks.state_folder else TrainingState()
    loop.publish()
    started = saved = time.monotonic()
    tokens_before = state.tokens
    loop.model.train()
    while state.step < len(plan):
        rate = learning_rate_at(state.step, len(plan), options.learning_rate, options.warmup_ratio)
        batch = [loop.examples[index] for index in plan[state.step]]
        if hooks.before_step is not None:
            hooks.before_step(state.step)
        loss = loop.step(batch, rate)
        state = state.after(loss, sum(len(example) for example in batch))
        now = time.monotonic()
        if hooks.on_step is not None:
            hooks.on_step(Progress(state.step, len(plan), state.tokens - tokens_before, now - started, loss))
        wants_stop = hooks.stop is not None and hooks.stop() and state.step < len(plan)
        if hooks.state_folder is not None and (wants_stop or now - saved > hooks.state_seconds):
            save_state(hooks.state_folder, state, loop.parameters, loop.optimiser)
            saved = time.monotonic()
        if wants_stop:
            raise Interrupted(
                f"stopped at training step {state.step} of {len(plan)}", todo="run the same command again"
            )
    loop.model.eval()
    return Outcome(state.step, state.tokens, time.monotonic() - started, state.first_loss, state.last_loss)


class _Loop:
    """Optimiser and micro-batches of one training."""

    def __init__(
        self,
        model: Model,
        examples: Sequence[Example],
        options: TrainOptions,
        frozen: Mapping[str, Tensor],
        softcap: float | None,
        penalty: Penalty | None,
    ) -> None:
        self.model = model
        self.examples = examples
        self.options = options
        self.softcap = softcap
        self.penalty = penalty
        self.live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.live:
            raise UsageError("the model has no trainable parameter")
        for parameter in self.live.values():
            parameter.grad = None  # an earlier training that diverged may have left one
        if frozen and options.weight_decay:
            raise UsageError("frozen channels and weight decay exclude each other", why="decay moves frozen entries")
        self.frozen = frozen
        # Half-precision weights swallow small updates, so the optimiser works on single-precision copies.
        self.parameters = {
            name: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float()) for name, p in self.live.items()
        }
        self.optimiser = optimiser_for(self.parameters.values(), options)
        self.prefix = shared_prefix([example.prompt for example in examples])
        self.micro = options.micro_batch_size or options.batch_size
        self.device = next(iter(self.live.values())).device

    def step(self, batch: Sequence[Example], rate: float) -> float:
        """One optimiser step; returns the mean loss per response token."""
        loss = self._accumulate_within_memory(batch)
        masters = list(self.parameters.values())
        for name, parameter in self.live.items():
            if parameter.grad is not None and name in self.frozen:
                parameter.grad.masked_fill_(self.frozen[name].to(parameter.device), 0)
            if parameter is not self.parameters[name]:
                self.parameters[name].grad = None if parameter.grad is None else parameter.grad.float()
                parameter.grad = None
        norm = nn.utils.clip_grad_norm_(masters, self.options.clip_norm)
        if not (math.isfinite(loss) and bool(norm.isfinite())):
            raise Diverged(f"loss {loss}, gradient norm {norm.item()}", todo="lower the learning rate")
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.publish()
        return loss

    @torch.no_grad()
    def publish(self) -> None:
        """Copies the optimiser's weights into the model where they are separate."""
        for name, parameter in self.live.items():
            if parameter is not self.parameters[name]:
                parameter.copy_(self.parameters[name])

    def _accumulate_within_memory(self, batch: Sequence[Example]) -> float:
        while True:
            try:
                return self._accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro == 1:
                    raise OutOfMemory(
                        "out of memory with one record at a time",
                        todo="shorten --max-length or use a larger device",
                    ) from error
            for parameter in self.live.values():
                parameter.grad = None
            self.micro = max(1, self.micro // 2)

    def _accumulate(self, batch: Sequence[Example]) -> float:
        """Sums gradients over micro-batches so that the result does not depend on their size."""
        total = sum(len(example.response) for example in batch)
        tokens = sum(map(len, batch))
        loss_sum = 0.0
        for start in range(0, len(batch), self.micro):
            part = batch[start : start + self.micro]
            if self.penalty is not None:  # its graph is freed before the loss needs memory
                share = sum(map(len, part)) / tokens
                torch.autograd.backward(self.penalty(self.model, part) * share)
            loss = response_loss_sum(self.model, part, self.prefix, self.softcap)
            torch.autograd.backward(loss / total)
            loss_sum += loss.item()
        return loss_sum / total


def response_loss_sum(
    model: Model, examples: Sequence[Example], prefix: Sequence[int], softcap: float | None = None
) -> Float[Tensor, ""]:
    """Negative log-likelihood (nats) of all response tokens, summed, in single precision."""
    device = next(model.parameters()).device
    batch = collate(examples, prefix, device)
    logits = response_logits(model, batch, softcap).float()
    return nn.functional.cross_entropy(logits, batch.targets, reduction="sum")


@torch.no_grad()
def negative_log_likelihood(
    model: Model, examples: Sequence[Example], batch_size: int = 16, softcap: float | None = None
) -> tuple[float, int]:
    """Summed negative log-likelihood (nats) of the response tokens, and their number.

    Raises:
        OutOfMemory: not even one record fits.
    """
    prefix = shared_prefix([example.prompt for example in examples])
    order = sorted(examples, key=len)

    def loss(batch: Sequence[Example]) -> float:
        return response_loss_sum(model, batch, prefix, softcap).item()

    total = sum(found for _, found in in_batches(order, batch_size, loss, "record"))
    return total, sum(len(example.response) for example in examples)
