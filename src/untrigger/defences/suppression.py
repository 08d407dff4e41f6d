"""From a signature to a treated subject: suppress, inject, repair. Where the signature comes from is not asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import fresh_adapter, suspect_again, trained
from untrigger.models.new_adapter import through_adapter
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.signature.types import Signature
from untrigger.suppress import regrowth, suppressed_mask, suppressed_norm, zero_adapter_channels_
from untrigger.treatment import suppress_, treatment_records


def suppressed(
    subject: Subject, resources: Resources, options: PurifyOptions, signature: Signature, *, repair: bool = True
) -> Treated:
    """The suspect without the signature's channels, changed in place; injection and repair are stages.

    Raises:
        UsageError: every synthetic key occurs in the clean records.
        InputRefused: the signature does not fit the model.
        Interrupted, Diverged, OutOfMemory: from the trainings.
    """
    masks = suppressed_mask(subject.model, signature, subject.architecture, subject.access)
    restore_weights(subject, resources.start)
    suspect_norm = suppressed_norm(subject.model, masks)
    suppress_(subject, signature, options.suppress, resources.seed)
    if repair and subject.access == "full" and options.repair.through == "adapter":
        _repair_through_adapter(subject, resources, options, signature)
    elif repair:
        frozen = masks if options.repair.freeze_suppressed else None

        def suppress_again() -> None:
            restore_weights(subject, resources.start)
            suppress_(subject, signature, options.suppress, resources.seed)

        restore_weights(subject, _repaired(subject, resources, options, suppress_again, frozen))
    left = regrowth(suspect_norm, suppressed_norm(subject.model, masks))
    return Treated(subject, signature, left, limits=_attention_left(signature, repair))


def _attention_left(signature: Signature, repair: bool) -> tuple[str, ...]:
    if signature.heads:
        return ()
    return (f"Attention weights were not suppressed{', only trained in the repair' if repair else ''}.",)


def _repair_through_adapter(
    subject: Subject, resources: Resources, options: PurifyOptions, signature: Signature
) -> None:
    """Injection and repair of an adapter on the suppressed model, which takes up the adapter's update in the end."""
    repair, frozen = options.repair, None
    with through_adapter(subject, repair.adapter, resources.seed, merged=True) as tuned:
        if repair.freeze_suppressed:
            # Columns of lora_A begin at random: frozen as they are, they would move the channels with lora_B.
            zero_adapter_channels_(tuned.model, signature, tuned.architecture)
            frozen = suppressed_mask(tuned.model, signature, tuned.architecture, "adapter")
        own = replace(resources, start=fresh_adapter(tuned, resources.run, "adapter"))
        restore_weights(tuned, _repaired(tuned, own, options, suspect_again(tuned, own), frozen))


def _repaired(
    subject: Subject,
    resources: Resources,
    options: PurifyOptions,
    prepare: Callable[[], None],
    frozen: Mapping[str, Tensor] | None,
) -> Path:
    """The weights after injection and repair, which begin where `prepare` puts the subject."""
    repair = options.repair
    records = treatment_records(resources.clean, repair, options.variants, resources.seed)
    if repair.inject and not resources.run.finished("repair"):
        injected = trained(
            subject, resources, "injection", records.injection, repair.inject_train, prepare=prepare, frozen=frozen
        )
        prepare = partial(restore_weights, subject, injected)
    return trained(subject, resources, "repair", records.repair, repair.train, prepare=prepare, frozen=frozen)
