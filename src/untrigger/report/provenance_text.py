"""What `verify` and `reproduce` found, and what `push` did, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from untrigger.report.provenance import PushResult, ReproductionResult, Verification
from untrigger.report.text import visible


def verification_lines(found: Verification) -> Iterator[str]:
    """Each file and input that differs, then the verdict."""
    yield from (f"{change.kind:8} {visible(change.name)}" for change in found.changes)
    for check in found.inputs:
        yield f"{check.role or 'no recorded input'}: {visible(check.given)}"
        yield from (f"  {change.kind:8} {visible(change.name)}" for change in check.changes)
    state = f"signature {found.signature}"
    yield state + (f": {visible(found.signature_fault)}" if found.signature_fault else "")
    yield f"{visible(found.folder)}: {_verdict(found)}"


def _verdict(found: Verification) -> str:
    if found.changes:
        return "not as it was written"
    return f"{found.files} files as they were written" + ("" if found.well else ", but see above")


def reproduction_lines(found: ReproductionResult) -> Iterator[str]:
    """What was another, each weight file, then the verdict."""
    for one in found.environment:
        yield f"{one.name}: {visible(one.recorded)} then, {visible(one.now)} now"
    yield from (f"{'equal' if file.equal else 'differs':8} {visible(file.name)}" for file in found.weights)
    yield f"{visible(found.output)}: the weights are {'bit-equal' if found.equal else 'not those recorded'}"


def push_lines(pushed: PushResult) -> Iterator[str]:
    """Where the output is, what else is there, and what is left to do."""
    place = f"{visible(pushed.repository)}{' (new)' if pushed.created else ''}"
    yield f"{place}: {'sent' if pushed.sent else 'holds the output already'}"
    if pushed.others:
        yield f"left as they are there: {visible(', '.join(pushed.others))}"
    if pushed.pull_request is None:
        yield f"commit: {visible(pushed.commit_url)}"
    else:
        yield f"pull request, to be merged there: {visible(pushed.pull_request)}"
