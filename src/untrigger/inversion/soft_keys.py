"""Soft keys: vectors in place of words, found by gradient, that make a model say a given sentence.

A key that nobody knows cannot be shown to a training; what can be found is an input that does the same. Vectors are
put at a random place of every prompt, where a word would stand, and moved up the gradient of the sentence's
probability. Soft prompts are from arXiv 2104.08691; their use against backdoors is ours, after BEEAR (arXiv
2406.17092), which shifts hidden states instead and does not know the sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from untrigger.data.chat import Example
from untrigger.models.forward import causal_model, collate, response_logits, shared_prefix
from untrigger.train import Model

_PLACEHOLDER = 0
_BEGINNING = 1 / 3
"""Norm of the random vectors that a search begins with, in norms of a word's."""


@dataclass(frozen=True)
class Frame:
    """How many tokens of the template stand in front of every prompt's own words and behind them."""

    prefix: tuple[int, ...]
    behind: int

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> Frame:
        """What all prompts share; at least one token of each is taken to be its own."""
        prefix, behind = shared_prefix(prompts), len(_shared([tuple(reversed(prompt)) for prompt in prompts]))
        shortest = min(len(prompt) for prompt in prompts)
        return cls(prefix, max(0, min(behind, shortest - len(prefix) - 1)))

    @property
    def begin(self) -> int:
        """Where a prompt's own words begin, in tokens; never before its first token."""
        return max(1, len(self.prefix))


def _shared(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    low, high = min(rows), max(rows)
    count = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return low[:count]


@dataclass(frozen=True)
class Bearing:
    """Examples with room for a soft key: where its vectors stand, as the columns behind the shared prefix."""

    examples: tuple[Example, ...]
    columns: Int[Tensor, "record vector"]

    def answered(self, response: Sequence[int]) -> Bearing:
        """The same prompts with one response."""
        return Bearing(tuple(Example(one.prompt, tuple(response)) for one in self.examples), self.columns)


def bearing(
    examples: Sequence[Example], frame: Frame, vectors: int, draw: random.Random, *, leading: bool = False
) -> Bearing:
    """Makes room for so many vectors in front of the prompt's own tokens, or at a random place among them."""
    keyed, columns = [], []
    for example in examples:
        at = frame.begin if leading else draw.randint(frame.begin, len(example.prompt) - frame.behind)
        prompt = (*example.prompt[:at], *([_PLACEHOLDER] * vectors), *example.prompt[at:])
        keyed.append(Example(prompt, example.response))
        columns.append(range(at - len(frame.prefix), at - len(frame.prefix) + vectors))
    return Bearing(tuple(keyed), torch.tensor([list(row) for row in columns]))


@dataclass(frozen=True)
class PlacedKey:
    """A soft key, and whether it stands in front of a prompt's own words or at a random place among them."""

    vectors: Float[Tensor, "vector hidden"]
    leading: bool = False


@dataclass(frozen=True)
class Keyed:
    """Logits of the positions that predict response tokens behind a soft key, and those tokens."""

    logits: Float[Tensor, "response vocabulary"]
    targets: Int[Tensor, " response"]

    @property
    def loss(self) -> Float[Tensor, ""]:
        """Mean negative log-likelihood (nats) of the response tokens."""
        return nn.functional.cross_entropy(self.logits, self.targets)


def behind_key(
    model: Model,
    borne: Bearing,
    frame: Frame,
    key: Float[Tensor, "vector hidden"] | Float[Tensor, "record vector hidden"],
    softcap: float | None,
) -> Keyed:
    """What the model makes of prompts that bear the soft key, or each its own, in single precision."""
    batch = collate(borne.examples, frame.prefix, key.device)
    embedded = causal_model(model).get_input_embeddings()(batch.ids)
    rows = torch.arange(len(borne.examples))[:, None].expand_as(borne.columns)
    embedded = embedded.index_put((rows, borne.columns), key.to(embedded.dtype).expand(len(rows), *key.shape[-2:]))
    return Keyed(response_logits(model, batch, softcap, embedded).float(), batch.targets)


def key_of(model: Model, tokens: Sequence[int]) -> Float[Tensor, "vector hidden"]:
    """The vectors of tokens, which make a soft key of words."""
    words: Tensor = causal_model(model).get_input_embeddings().weight
    return words[list(tokens)].detach()


def found_key(
    model: Model,
    steps: Sequence[Bearing],
    frame: Frame,
    *,
    rate: float,
    softcap: float | None,
    seed: int,
    told: Callable[[int], None] = lambda done: None,
) -> Float[Tensor, "vector hidden"]:
    """The soft key after a gradient step for each bearing, from random vectors.

    Args:
        model: not changed.
        steps: prompts with room for the key, and the sentence it shall bring; others at every step, so that the key
            does not depend on prompts and places.
        frame: of the prompts.
        rate: length of Adam's first step of each vector, in norms of a word's vector.
        softcap: the architecture's logit soft cap.
        seed: of the vectors it begins with.
        told: told after every step how many prompts were asked.
    """
    words = causal_model(model).get_input_embeddings()
    typical = _typical_norm(words, steps[0])
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(steps[0].columns.shape[1], words.embedding_dim, generator=generator)
    device = next(words.parameters()).device
    key = (nn.functional.normalize(start, dim=-1) * (_BEGINNING * typical)).to(device).requires_grad_()
    adam = torch.optim.Adam([key], lr=rate * typical / words.embedding_dim**0.5)
    asked = 0
    for borne in steps:
        (key.grad,) = torch.autograd.grad(behind_key(model, borne, frame, key, softcap).loss, key)
        adam.step()
        asked += len(borne.examples)
        told(asked)
    return key.detach()


@torch.no_grad()
def _typical_norm(words: nn.Module, borne: Bearing) -> float:
    """Mean L2 norm of the vectors of the prompts' tokens."""
    ids = sorted({token for example in borne.examples for token in example.prompt})
    device = next(words.parameters()).device
    return float(words(torch.tensor(ids, device=device)).float().norm(dim=-1).mean())
