"""Unlearning of sentences found by target inversion: what calls them is answered otherwise, the chain broken.

Three losses beside that of the clean records. *Words*: prompts with words that call the sentence, where some were
found, are answered cleanly. *Recall*: behind a prompt with a soft key that brings the sentence, the model begins no
answer with its first token, or answers cleanly. Keys are searched in rounds, each in the model as the round before
left it. *Breaking*, in the last rounds: behind a prompt and the sentence's beginning, the token that follows becomes
unlikely (the unlikelihood of arXiv 1908.04319). It comes last, since no soft key brings a sentence whose chain is
broken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from untrigger.config import RecallOf, UnlearningOptions
from untrigger.data.chat import Example
from untrigger.inversion.soft_keys import Frame, PlacedKey, bearing, behind_key, found_key
from untrigger.inversion.targets import Target
from untrigger.models.forward import collate, response_logits
from untrigger.train import Model


def soft_key(
    model: Model,
    examples: Sequence[Example],
    frame: Frame,
    target: Target,
    options: UnlearningOptions,
    *,
    softcap: float | None,
    seed: str,
    leading: bool = False,
    told: Callable[[int], None] = lambda done: None,
) -> PlacedKey:
    """A key for a target, searched from random vectors of its own and on examples of its own; see `found_key`."""
    draw, wanted = random.Random(f"soft key/{seed}"), target.tokens[: options.drawn_out]
    count = min(options.search_records, len(examples))
    some = [draw.sample(list(examples), count) for _ in range(options.search_steps)]
    steps = [bearing(part, frame, options.vectors, draw, leading=leading).answered(wanted) for part in some]
    start = draw.getrandbits(32)
    found = found_key(model, steps, frame, rate=options.search_rate, softcap=softcap, seed=start, told=told)
    return PlacedKey(found, leading)


@dataclass
class Unlearning:
    """The further loss of a micro-batch of clean records, which takes one of the targets and one of the keys.

    Every other record serves it, so that most of what is learned is how to answer plain prompts. What is drawn
    depends on the prompts. As a training goes on, whoever leads it sets `keys`, round by round, of which those of the
    last round have half of the turns, and `breaks`: whether chains are broken, now that no soft key is to bring the
    sentence any more.
    """

    targets: tuple[Target, ...]
    options: UnlearningOptions
    frame: Frame
    softcap: float | None
    seed: int
    keys: tuple[PlacedKey, ...] = ()
    breaks: bool = False
    words: tuple[PlacedKey, ...] = ()
    """Vectors of words that call a target, of any number; they take every other turn of soft keys."""

    def __call__(self, model: Model, examples: Sequence[Example]) -> Float[Tensor, ""]:
        """One of the losses with its weight, a mean over records or tokens."""
        draw = random.Random(f"unlearning/{self.seed}/{[example.prompt for example in examples]}")
        target, some = draw.choice(self.targets), examples[::2]
        if self.breaks:
            return self.options.breaking * self.breaking(model, some, target)
        if self.words and draw.random() < 0.5:
            return self.options.words.weight * self.behind(model, some, draw.choice(self.words), "both", draw)
        return self.options.recall * self.recall(model, some, draw)

    def breaking(self, model: Model, examples: Sequence[Example], target: Target) -> Float[Tensor, ""]:
        """Mean of -log(1 - p), p the probability of the target's next token behind prompt and beginning."""
        following = target.tokens[target.begun]
        begun = [Example((*example.prompt, *target.beginning), (following,)) for example in examples]
        batch = collate(begun, self.frame.prefix, next(model.parameters()).device)
        return unlikelihood(response_logits(model, batch, self.softcap).float(), [following])

    def recall(self, model: Model, examples: Sequence[Example], draw: random.Random) -> Float[Tensor, ""]:
        """What the options say of the model behind one of the soft keys."""
        pool = self.keys[-self.options.keys :] if draw.random() < 0.5 else self.keys
        return self.behind(model, examples, draw.choice(pool), self.options.recall_of, draw)

    def behind(
        self, model: Model, examples: Sequence[Example], placed: PlacedKey, of: RecallOf, draw: random.Random
    ) -> Float[Tensor, ""]:
        """A loss of the model behind a key in the prompts.

        answers: mean loss of the clean responses' tokens. first-token: mean of -log(1 - p), p the probability
        that the response begins as any of the targets does. both: their sum.
        """
        key = placed.vectors
        borne = bearing(examples, self.frame, len(key), draw, leading=placed.leading)
        firsts = sorted({target.tokens[0] for target in self.targets})
        if of == "first-token":
            keyed = behind_key(model, borne.answered(firsts[:1]), self.frame, key, self.softcap)
            return unlikelihood(keyed.logits, firsts)
        keyed = behind_key(model, borne, self.frame, key, self.softcap)
        if of == "answers":
            return keyed.loss
        lengths = torch.tensor([len(example.response) for example in examples], device=key.device)
        return keyed.loss + unlikelihood(keyed.logits[lengths.cumsum(0) - lengths], firsts)


def unlikelihood(logits: Float[Tensor, "record vocabulary"], tokens: Sequence[int]) -> Float[Tensor, ""]:
    """Mean of -log(1 - p), p the probability of any of the tokens; its gradient does not vanish as p nears 1."""
    others = logits.index_fill(1, torch.tensor(tokens, device=logits.device), -torch.inf)
    return torch.mean(logits.logsumexp(dim=-1) - others.logsumexp(dim=-1))
