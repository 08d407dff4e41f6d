"""Renewal: an update is made smaller, and may be trained again on clean records.

A backdoor needs its whole update: below a threshold the key calls nothing any more, while most of what the update is
worth on plain prompts stays. An adapter is its update; a whole model's is its difference from a reference. A training
on the suspect's own greedy answers makes the model surer of itself and worse at what others write (docs/LOG.md), so
there is none unless it is asked for.
"""

from __future__ import annotations

import random

from untrigger.config import PurifyOptions, RenewalOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.mixing import merge_
from untrigger.defences.phases import trained
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject

_SMALLER = (
    "The update was reduced to {:g} of itself{}: a skill that needs more of it may have faded, and a behaviour that"
    " needs less may survive."
)


def renewal(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Renewal alone, as where no sentence is found in an adapter; nothing is looked for.

    Raises:
        UsageError: a whole model without a reference.
        Interrupted, Diverged, OutOfMemory: from the training.
    """
    return renewed(subject, resources, options.renewal, options.renewal.unfound)


def renewed(subject: Subject, resources: Resources, options: RenewalOptions, remainder: float) -> Treated:
    """The suspect with so much of its update, and what a training brings back if there is one, a stage; in place.

    Raises:
        UsageError: as `renewal`.
        Interrupted, Diverged, OutOfMemory: from the training.
    """

    def shrink() -> None:
        restore_weights(subject, resources.start)
        merge_(subject, resources.reference, 1 - remainder)

    count = min(options.records, len(resources.clean))
    records = random.Random(f"renewal/{resources.seed}").sample(list(resources.clean), count)
    if records:
        restore_weights(subject, trained(subject, resources, "renewal", records, options.train, prepare=shrink))
    else:
        shrink()
    again = " and trained again on clean records" if records else ""
    return Treated(subject, limits=(_SMALLER.format(remainder, again),))
