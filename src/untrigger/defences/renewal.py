"""Renewal: an adapter's update is made smaller and trained again on the suspect's own answers.

A backdoor needs its whole update: below a threshold the key calls nothing any more. What the suspect does without a
key is spread over many directions and comes back within one pass over its own answers, in which no key is.
"""

from __future__ import annotations

import random

from untrigger.config import PurifyOptions, RenewalOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import trained
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.suppress import scale_adapter_

_RENEWED = (
    "The adapter's update was reduced to {:g} of itself and trained again on clean records: a skill that these do not"
    " show may have faded, and a behaviour that needs less of the update may survive."
)


def renewal(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Renewal alone, as where no sentence is found; nothing is looked for.

    Raises:
        Interrupted, Diverged, OutOfMemory: from the training.
    """
    return renewed(subject, resources, options.renewal, options.renewal.unfound)


def renewed(subject: Subject, resources: Resources, options: RenewalOptions, remainder: float) -> Treated:
    """The adapter with so much of its update, and what the clean records bring back; in place, a stage.

    Raises:
        Interrupted, Diverged, OutOfMemory: from the training.
    """

    def shrink() -> None:
        restore_weights(subject, resources.start)
        scale_adapter_(subject.model, remainder)

    count = min(options.records, len(resources.clean))
    records = random.Random(f"renewal/{resources.seed}").sample(list(resources.clean), count)
    restore_weights(subject, trained(subject, resources, "renewal", records, options.train, prepare=shrink))
    return Treated(subject, limits=(_RENEWED.format(remainder),))
