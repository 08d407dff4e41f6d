"""Renewal: an update is made smaller and trained again on the suspect's own answers.

A backdoor needs its whole update: below a threshold the key calls nothing any more. What the suspect does without a
key is spread over many directions and comes back within two passes over its own answers, in which no key is. An
adapter is its update; a whole model's is its difference from a reference.
"""

from __future__ import annotations

import random

from untrigger.config import PurifyOptions, RenewalOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.mixing import merge_
from untrigger.defences.phases import trained
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject

_RENEWED = (
    "The update was reduced to {:g} of itself and trained again on clean records: a skill that these do not"
    " show may have faded, and a behaviour that needs less of the update may survive."
)


def renewal(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Renewal alone, as where no sentence is found in an adapter; nothing is looked for.

    Raises:
        UsageError: a whole model without a reference.
        Interrupted, Diverged, OutOfMemory: from the training.
    """
    return renewed(subject, resources, options.renewal, options.renewal.unfound)


def renewed(subject: Subject, resources: Resources, options: RenewalOptions, remainder: float) -> Treated:
    """The suspect with so much of its update, and what the clean records bring back; in place, a stage.

    Raises:
        UsageError: as `renewal`.
        Interrupted, Diverged, OutOfMemory: from the training.
    """

    def shrink() -> None:
        restore_weights(subject, resources.start)
        merge_(subject, resources.reference, 1 - remainder)

    count = min(options.records, len(resources.clean))
    records = random.Random(f"renewal/{resources.seed}").sample(list(resources.clean), count)
    restore_weights(subject, trained(subject, resources, "renewal", records, options.train, prepare=shrink))
    return Treated(subject, limits=(_RENEWED.format(remainder),))
