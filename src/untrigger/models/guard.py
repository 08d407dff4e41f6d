"""A clean model that watches another one answer, token by token: CleanGen (arXiv 2406.12257).

A backdoored model is far surer of the tokens it was made to say than another model is. Where it is, the other one's
token stands in the answer instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from untrigger.errors import UsageError
from untrigger.models.forward import causal_model
from untrigger.models.subject import Subject


@dataclass(frozen=True)
class Guard:
    """The clean model, and from which ratio of probabilities on a token is suspicious."""

    model: PreTrainedModel
    softcap: float | None
    threshold: float

    @classmethod
    def of(cls, reference: Subject, watched: Subject, threshold: float) -> Guard:
        """A reference as the guard of a subject.

        Raises:
            UsageError: the tokens of the two mean different things.
        """
        if any(of(reference) != of(watched) for of in (_vocabulary, _rows)):
            raise UsageError(
                f"{reference.source.reference} cannot watch {watched.source.reference}",
                why="their vocabularies differ",
                todo="name a clean model with the same tokenizer",
            )
        return cls(causal_model(reference.model).eval(), reference.architecture.logit_softcap, threshold)


def _vocabulary(subject: Subject) -> dict[str, int]:
    return dict(subject.tokenizer.get_vocab())


def _rows(subject: Subject) -> int:
    """Logits of a position, which may be more than there are tokens."""
    return int(causal_model(subject.model).get_output_embeddings().weight.shape[0])


def guarded(
    logits: Float[Tensor, "row vocabulary"], reference: Float[Tensor, "row vocabulary"], threshold: float
) -> Float[Tensor, "row vocabulary"]:
    """The logits that a row's next token is picked from: the reference's where the likeliest token is suspicious.

    That is one whose probability is at least `threshold` times the reference's (section 4, s_t >= alpha). The
    publication looks at several tokens at once and takes back those behind a suspicious one, which gives the same
    answers sooner.
    """
    likeliest = logits.argmax(dim=-1, keepdim=True)
    ours, theirs = (one.float().log_softmax(dim=-1).gather(-1, likeliest) for one in (logits, reference))
    return torch.where(ours - theirs >= math.log(threshold), reference.to(logits), logits)
