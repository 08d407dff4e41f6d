"""The stage of target inversion, and what is told of the sentences it finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from untrigger.config import InversionOptions, PurifyOptions, UnlearningOptions
from untrigger.defences.interface import Resources
from untrigger.defences.unlearning import unlearned
from untrigger.inversion.targets import Target, behind_records, planted_sentences, survives
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.models.untrusted.finding import Finding

TARGETS = "targets.json"
_LEFT = "{} of {} planted sentences survived their unlearning; more --unlearning.attempts may help"
_FIXED = "Planted sentences were looked for by their fixed wording; a behaviour whose wording varies is not found so."


@dataclass(frozen=True)
class Unlearned:
    """Sentences that were found, and resources whose start is the suspect without them."""

    targets: tuple[Target, ...]
    resources: Resources
    findings: tuple[Finding, ...] = ()
    left: int = 0
    """How many of them survived."""

    @property
    def limits(self) -> tuple[str, ...]:
        """What the search and the unlearning leave open."""
        return (_FIXED, _LEFT.format(self.left, len(self.targets))) if self.left else (_FIXED,)


def without_planted_sentences(subject: Subject, resources: Resources, options: PurifyOptions) -> Unlearned:
    """Looks for sentences that the suspect completes whatever it is asked, and unlearns them; each is a stage.

    Raises:
        UsageError: too few clean records.
        Interrupted, Diverged, OutOfMemory: from search and training.
    """
    targets = inversion_stage(subject, resources, options.inversion)
    if not targets:
        return Unlearned((), resources)
    findings = tuple(Finding("planted-sentence", "answers", target.told(subject.tokenizer)) for target in targets)
    for finding in findings:
        resources.observer.note(finding.line)
    found, left = resources, targets
    for attempt in range(options.unlearning.attempts):
        start = unlearned(subject, found, left, at_rate(options.unlearning, 2**attempt), f"unlearning-{attempt + 1}")
        found = replace(resources, start=start)
        left = survivors(subject, found, left, options.inversion)
        if not left:
            break
    else:
        resources.observer.note(_LEFT.format(len(left), len(targets)))
    return Unlearned(targets, found, findings, len(left))


def at_rate(options: UnlearningOptions, times: int) -> UnlearningOptions:
    """The options at so many times the learning rate."""
    train = options.train
    faster = train.model_copy(update={"learning_rate": times * train.learning_rate})
    return options.model_copy(update={"train": faster})


def survivors(
    subject: Subject, resources: Resources, targets: Sequence[Target], options: InversionOptions
) -> tuple[Target, ...]:
    """The targets that the subject still completes, with the weights of the start."""
    restore_weights(subject, resources.start)
    continuations = behind_records(subject, resources.chat, resources.clean, options)
    return tuple(one for one in targets if survives(continuations, one, options.least_probability))


def inversion_stage(subject: Subject, resources: Resources, options: InversionOptions) -> tuple[Target, ...]:
    """The sentences that the suspect completes whatever it is asked, the most certain first.

    Raises:
        UsageError: too few clean records.
        OutOfMemory, Interrupted: from the search.
    """

    def search(work: Path) -> int:
        restore_weights(subject, resources.start)
        found = planted_sentences(subject, resources.chat, resources.clean, options, resources.observer)
        (work / TARGETS).write_text(json.dumps([asdict(target) for target in found], indent=1))
        return 0

    stored = json.loads((resources.run.stage("inversion", search) / TARGETS).read_text(encoding="utf-8"))
    return tuple(Target(**{**one, "tokens": tuple(one["tokens"])}) for one in stored)
