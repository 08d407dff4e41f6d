"""What a scan found, on a terminal of any width; every name and message is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from untrigger.inspection.rules import Severity
from untrigger.report.scan import FileResult, ScanFindingResult, ScanResult, UpdateResult
from untrigger.report.text import visible

_STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "dim"}
_UPDATES_SHOWN = 5
_HASH_SHOWN = 12
_INDENT = (0, 0, 0, 2)


def render_scan(result: ScanResult) -> RenderableType:
    """The findings, the strongest updates, the files and the limits."""
    return Group(
        *_heading(result),
        *(part for finding in result.findings for part in _finding(finding)),
        *_updates(result.updates),
        *_files(result.files),
        *_limits(result.limits),
    )


def verdict(result: ScanResult) -> str:
    """One sentence; never that a model is clean."""
    counts = {severity: result.count(severity) for severity in Severity}
    warnings = f"{counts[Severity.WARNING]} warning{'' if counts[Severity.WARNING] == 1 else 's'}"
    if counts[Severity.CRITICAL]:
        return f"refused: {counts[Severity.CRITICAL]} critical, {warnings}"
    if counts[Severity.WARNING]:
        return warnings
    return "no finding above info"


def _heading(result: ScanResult) -> Iterator[RenderableType]:
    yield _plain(f"scan {result.reference}" + (f" on {result.base}" if result.base else ""), "bold")
    size = f"{result.tensors} tensors, {result.weight_bytes / 1e6:.1f} MB, {result.seconds:.1f} s"
    yield _plain(f"{result.kind}, {size}")
    yield _plain(verdict(result), "bold")


def _finding(finding: ScanFindingResult) -> Iterator[RenderableType]:
    place = f"  {finding.file}" if finding.file else ""
    yield Text(finding.severity.value, style=_STYLES[finding.severity]) + _plain(f"  {finding.rule}{place}")
    yield _below(finding.message)
    if finding.todo:
        yield _below(f"-> {finding.todo}")


def _updates(updates: Sequence[UpdateResult]) -> Iterator[RenderableType]:
    if not updates:
        return
    yield _plain(f"updates of {len(updates)} modules; the most unusual of their role, else the strongest, first:")
    ordered = sorted(updates, key=lambda one: (-(one.score or 0.0), -one.frobenius))
    for update in ordered[:_UPDATES_SHOWN]:
        yield _below(update.module)
        yield Padding(_below(_figures(update)), _INDENT, expand=False)


def _figures(update: UpdateResult) -> str:
    relative = "" if update.relative is None else f" ({update.relative:.2%} of the base)"
    score = "" if update.score is None else f", score {update.score:.1f}"
    return f"norm {update.frobenius:.3g}{relative}, stable rank {update.stable_rank:.2f} of {update.rank}{score}"


def _files(files: Sequence[FileResult]) -> Iterator[RenderableType]:
    if not files:
        return
    yield _plain("files, and what becomes of them in a purified copy (SHA-256):")
    for file in files:
        digest = "not a plain file" if file.sha256 is None else file.sha256[:_HASH_SHOWN]
        yield _below(f"{file.fate.value:<11}  {digest}  {file.name}")


def _limits(limits: Sequence[str]) -> Iterator[RenderableType]:
    yield _plain("what this cannot show:")
    for sentence in limits:
        yield _below(f"- {sentence}")


def _below(text: str) -> Padding:
    return Padding(_plain(text), _INDENT, expand=False)


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style, overflow="fold")
