"""The forms in which a model is deployed: what was measured in one of them may not hold in another."""

from __future__ import annotations

from untrigger.config import Deployed, Int4Options
from untrigger.defences.int4 import require_bitsandbytes, rounded
from untrigger.models.merge import merged_subject
from untrigger.models.subject import Subject


def require_deployable(form: Deployed | None) -> None:
    """Looks up what a form needs, before any work.

    Raises:
        UntriggerError: a package is missing.
    """
    if form in ("int4", "int4-merged"):
        require_bitsandbytes()


def deployed(subject: Subject, form: Deployed | None) -> Subject:
    """The subject in this form, which uses it up; as it is if no form is given.

    Raises:
        UsageError: a whole model is to be merged.
    """
    if form is None:
        return subject
    options = Int4Options(merge_first=form == "int4-merged")
    if form == "int4":
        return rounded(subject, options)
    merged = merged_subject(subject)
    return merged if form == "merged" else rounded(merged, options)
