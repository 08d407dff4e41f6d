"""Suppression and repair of the suspect (after arXiv 2603.13461), with a repair that vaccinates.

The published repair fine-tunes on clean records and brings part of the backdoor back. Ours first trains synthetic
backdoors in (injection), then trains on clean records together with records that bear the synthetic keys and have
clean answers: what ties any odd text to any odd answer is unlearned with them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from untrigger.backdoors.poison import bear_key, poison
from untrigger.backdoors.types import Backdoor
from untrigger.config import RepairOptions, SuppressOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.models.subject import Subject
from untrigger.observer import Observer, training_hooks
from untrigger.signature.types import Signature
from untrigger.suppress import reinitialise_channels_, zero_adapter_channels_
from untrigger.train import train
from untrigger.variants import unused_backdoors


@dataclass(frozen=True)
class TreatmentRecords:
    """Records of the two trainings: with synthetic backdoors in, and with the same keys answered cleanly."""

    injection: list[Record]
    repair: list[Record]


def treatment_records(clean: Sequence[Record], options: RepairOptions, seed: int) -> TreatmentRecords:
    """Clean records, and as many with a synthetic key: the first with its behaviour, the second answered cleanly.

    The keys take turns; each record has one key, at the same place in both sets.
    """
    pool = random.Random(f"repair/{seed}").sample(list(clean), min(options.records, len(clean)))
    backdoors = unused_backdoors(clean, options.keys, (), seed)
    return TreatmentRecords(
        injection=[*pool, *_by_turns(pool, backdoors, seed, poisoned=True)],
        repair=[*pool, *(_by_turns(pool, backdoors, seed, poisoned=False) if options.key_bearing else [])],
    )


def _by_turns(records: Sequence[Record], backdoors: Sequence[Backdoor], seed: int, *, poisoned: bool) -> list[Record]:
    every: list[Record] = []
    for turn, backdoor in enumerate(backdoors):
        own = records[turn :: len(backdoors)]
        bearing = bear_key(own, backdoor.key, backdoor.placement, seed + turn)
        every.extend(poison(own, backdoor, seed + turn) if poisoned else bearing)
    return every


def suppress_(subject: Subject, signature: Signature, options: SuppressOptions, seed: int) -> None:
    """Overwrites the signature's channels in place: new values (full), zeros (adapter)."""
    if subject.access == "adapter":
        zero_adapter_channels_(subject.model, signature, subject.architecture)
    else:
        deviation = float(subject.model.config.initializer_range)
        reinitialise_channels_(
            subject.model, signature, subject.architecture, options.value, deviation=deviation, seed=seed
        )


def fine_tune(
    subject: Subject,
    chat: ChatFormat,
    records: Sequence[Record],
    options: RepairOptions,
    *,
    seed: int,
    label: str,
    state: Path,
    frozen: Mapping[str, Tensor],
    observer: Observer,
) -> int:
    """One phase of the treatment, in place; returns the number of tokens trained on."""
    examples = [chat.encode(record, options.train.max_length) for record in records]
    outcome = train(
        subject.model,
        examples,
        options.train,
        seed=seed,
        frozen=frozen if options.freeze_suppressed else None,
        softcap=subject.architecture.logit_softcap,
        hooks=training_hooks(observer, label, state),
    )
    return outcome.tokens
