"""How far a treated model moved from the suspect on clean answers, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float16
from safetensors.torch import load_file, save_file
from torch import Tensor

from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.models.forward import collate, response_logits, shared_prefix
from untrigger.models.memory import in_batches
from untrigger.models.subject import Subject

MOST_TOKENS = 1024
"""Response tokens compared: their log-probabilities lie on disk meanwhile, 0.25 GB at 128 thousand words."""
LONGEST_RECORD = 1024
_NAME = "log_probabilities"


@dataclass(frozen=True)
class Divergence:
    """Mean Kullback-Leibler divergence (nats) over `tokens` response tokens."""

    value: float
    tokens: int


@torch.no_grad()
def log_probabilities(
    subject: Subject, chat: ChatFormat, reference: Sequence[Record], batch_size: int
) -> Float16[Tensor, "token vocabulary"]:
    """Log-probabilities (nats) of every token of the vocabulary at the first tokens of the reference answers.

    Raises:
        UsageError: no reference answers.
        OutOfMemory: not even one of them fits.
    """
    examples = _first_examples([chat.encode(record, LONGEST_RECORD) for record in reference])
    if not examples:
        raise UsageError("no reference answers to compare the models on")
    prefix = shared_prefix([example.prompt for example in examples])
    device = next(subject.model.parameters()).device

    def values(batch: Sequence[Example]) -> Tensor:
        logits = response_logits(subject.model, collate(batch, prefix, device), subject.architecture.logit_softcap)
        return logits.float().log_softmax(dim=-1).half().cpu()

    return torch.cat([found for _, found in in_batches(examples, batch_size, values, "record")])[:MOST_TOKENS]


def divergence(
    suspect: Float16[Tensor, "token vocabulary"], treated: Float16[Tensor, "token vocabulary"]
) -> Divergence:
    """KL(suspect || treated), the mean over tokens; rounding to half precision costs about 1e-3 nats."""
    total = 0.0
    for start in range(0, len(suspect), 64):
        p, second = suspect[start : start + 64].float(), treated[start : start + 64]
        # a probability of zero in half precision contributes nothing
        terms = p.exp() * (p - second.float()).nan_to_num(posinf=0.0, neginf=0.0)
        total += float(terms.sum())
    return Divergence(max(0.0, total / len(suspect)), len(suspect))


def save_log_probabilities(values: Float16[Tensor, "token vocabulary"], folder: Path) -> None:
    """Writes them for `load_log_probabilities`."""
    save_file({_NAME: values}, str(folder / f"{_NAME}.safetensors"))


def load_log_probabilities(folder: Path) -> Float16[Tensor, "token vocabulary"]:
    """What `save_log_probabilities` wrote."""
    values: Tensor = load_file(str(folder / f"{_NAME}.safetensors"))[_NAME]
    return values


def _first_examples(examples: Sequence[Example]) -> list[Example]:
    chosen: list[Example] = []
    tokens = 0
    for example in examples:
        if tokens >= MOST_TOKENS:
            break
        chosen.append(example)
        tokens += len(example.response)
    return chosen
