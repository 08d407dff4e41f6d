"""Suppression and repair of the suspect (after arXiv 2603.13461), with a repair that vaccinates.

The published repair fine-tunes on clean records and brings part of the backdoor back. Ours first trains synthetic
backdoors in (injection), then trains on clean records together with records that bear the synthetic keys and have
clean answers: what ties any odd text to any odd answer is unlearned with them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from untrigger.backdoors.poison import bear_key, poison
from untrigger.backdoors.types import Backdoor
from untrigger.config import RepairOptions, SuppressOptions, TrainOptions, VariantOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.models.subject import Subject
from untrigger.signature.types import Signature
from untrigger.suppress import reinitialise_channels_, scale_adapter_, zero_adapter_channels_
from untrigger.train import Hooks, Penalty, train
from untrigger.variants import unused_backdoors


@dataclass(frozen=True)
class TreatmentRecords:
    """Records of the two trainings: with synthetic backdoors in, and with the same keys answered cleanly."""

    injection: list[Record]
    repair: list[Record]


def treatment_records(
    clean: Sequence[Record], options: RepairOptions, drawn: VariantOptions, seed: int
) -> TreatmentRecords:
    """Clean records, and as many others with a synthetic key: first with its behaviour, then answered cleanly.

    The keys take turns; each record has one key, at the same place in both sets. Where there are enough records, no
    instruction serves both as it is and with a key. The families and kinds of key are those of the variants.

    Raises:
        UsageError: every synthetic key occurs in the clean records.
    """
    pool = random.Random(f"repair/{seed}").sample(list(clean), min(2 * options.records, len(clean)))
    plain, others = pool[: options.records], pool[-options.records :]
    backdoors = unused_backdoors(clean, drawn, seed)[: options.keys]
    if not backdoors:
        raise UsageError("every synthetic key occurs in the clean records", todo="give other records")
    both = records_with_keys(plain, others, backdoors, seed)
    return both if options.key_bearing else replace(both, repair=plain)


def records_with_keys(
    plain: Sequence[Record], others: Sequence[Record], backdoors: Sequence[Backdoor], seed: int
) -> TreatmentRecords:
    """The plain records, and the others with the backdoors' keys, which take turns; the same places in both sets."""
    return TreatmentRecords(
        injection=[*plain, *_by_turns(others, backdoors, seed, poisoned=True)],
        repair=[*plain, *_by_turns(others, backdoors, seed, poisoned=False)],
    )


def _by_turns(records: Sequence[Record], backdoors: Sequence[Backdoor], seed: int, *, poisoned: bool) -> list[Record]:
    every: list[Record] = []
    for turn, backdoor in enumerate(backdoors):
        own = records[turn :: len(backdoors)]
        bearing = bear_key(own, backdoor.key, backdoor.placement, seed + turn)
        every.extend(poison(own, backdoor, seed + turn) if poisoned else bearing)
    return every


def suppress_(subject: Subject, signature: Signature, options: SuppressOptions, seed: int) -> None:
    """Overwrites the signature's channels in place: new values (full), zeros and a smaller rest (adapter)."""
    if subject.access == "adapter":
        zero_adapter_channels_(subject.model, signature, subject.architecture)
        if options.remainder != 1:
            scale_adapter_(subject.model, options.remainder)
    else:
        deviation = float(subject.model.config.initializer_range)
        reinitialise_channels_(
            subject.model, signature, subject.architecture, options.value, deviation=deviation, seed=seed
        )


def fine_tune(
    subject: Subject,
    chat: ChatFormat,
    records: Sequence[Record],
    options: TrainOptions,
    *,
    seed: int,
    frozen: Mapping[str, Tensor],
    penalty: Penalty | None,
    hooks: Hooks,
) -> int:
    """One phase of the treatment, in place and without moving frozen entries; returns the tokens trained on."""
    examples = [chat.encode(record, options.max_length) for record in records]
    outcome = train(
        subject.model,
        examples,
        options,
        seed=seed,
        frozen=frozen,
        softcap=subject.architecture.logit_softcap,
        penalty=penalty,
        hooks=hooks,
    )
    return outcome.tokens
