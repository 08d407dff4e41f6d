"""From a signature to a treated subject: suppress, inject, repair. Where the signature comes from is not asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import trained
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.signature.types import Signature
from untrigger.suppress import regrowth, suppressed_mask, suppressed_norm
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
    if repair:
        restore_weights(subject, _repaired(subject, resources, options, signature, masks))
    else:
        suppress_(subject, signature, options.suppress, resources.seed)
    left = regrowth(suspect_norm, suppressed_norm(subject.model, masks))
    return Treated(subject, signature, left, limits=_attention_left(signature, repair))


def _attention_left(signature: Signature, repair: bool) -> tuple[str, ...]:
    if signature.heads:
        return ()
    return (f"Attention weights were not suppressed{', only trained in the repair' if repair else ''}.",)


def _repaired(
    subject: Subject,
    resources: Resources,
    options: PurifyOptions,
    signature: Signature,
    masks: Mapping[str, Tensor],
) -> Path:
    repair = options.repair
    records = treatment_records(resources.clean, repair, options.variants, resources.seed)
    frozen = masks if repair.freeze_suppressed else None

    def suppress_again() -> None:
        restore_weights(subject, resources.start)
        suppress_(subject, signature, options.suppress, resources.seed)

    prepare: Callable[[], None] = suppress_again
    if repair.inject and not resources.run.finished("repair"):
        injected = trained(
            subject,
            resources,
            "injection",
            records.injection,
            repair.inject_train,
            prepare=suppress_again,
            frozen=frozen,
        )
        prepare = partial(restore_weights, subject, injected)
    return trained(subject, resources, "repair", records.repair, repair.train, prepare=prepare, frozen=frozen)
