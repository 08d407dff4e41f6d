"""What was noticed about a model's files and about the records, told at once and kept with the result."""

from __future__ import annotations

from collections.abc import Sequence

from untrigger.backdoors.poison import holds, without_keys
from untrigger.backdoors.synthetic_keys import KEYS
from untrigger.backdoors.types import Backdoor
from untrigger.data.records import Record
from untrigger.models.subject import Subject
from untrigger.models.untrusted.finding import Finding
from untrigger.observer import Observer
from untrigger.report.parts import FindingResult


def note_findings(subject: Subject, observer: Observer) -> None:
    """A note for each."""
    for finding in subject.findings:
        observer.note(finding.line)


def findings_result(subject: Subject, more: Sequence[Finding] = ()) -> tuple[FindingResult, ...]:
    """The same for a result, and more of them after these."""
    return tuple(FindingResult.model_validate(finding) for finding in (*subject.findings, *more))


def key_findings(clean: Sequence[Record], measured: Backdoor | None) -> tuple[Finding, ...]:
    """Which keys the clean records hold: the one that is measured, and synthetic ones of ours."""
    found = []
    bearing = 0 if measured is None else without_keys(clean, [measured.key]).dropped
    if bearing:
        text = (
            f"{bearing} of {len(clean)} hold the key that is measured, and were kept, since no treatment may know it;"
            " it may be unlearned from them, and its attack success afterwards says little"
        )
        found.append(Finding("key-in-records", "clean records", text))
    taken = sum(any(holds(record, key) for record in clean) for keys in KEYS.values() for key in keys)
    if taken:
        text = f"{taken} of our synthetic keys occur in them and are not used; others are drawn in their place"
        found.append(Finding("synthetic-key-in-records", "clean records", text))
    return tuple(found)
