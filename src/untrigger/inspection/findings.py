"""Findings, and the collector that goes on after a refusal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from untrigger.errors import InputRefused
from untrigger.inspection.rules import RULES, Severity

MOST_ALIKE = 20
"""Findings of one rule about one file; a model has hundreds of tensors, and one sentence tells of the rest."""
_ORDER = tuple(Severity)
Value = TypeVar("Value")


@dataclass(frozen=True)
class ScanFinding:
    """Something about a model's files; `file` and `field` (a key, a tensor, a module) say where, empty: anywhere."""

    rule: str
    file: str
    field: str
    message: str
    todo: str = ""

    @property
    def severity(self) -> Severity:
        """That of the rule."""
        return RULES[self.rule].severity


@dataclass(frozen=True)
class Collector:
    """Gathers findings about one folder; paths into it are cut to names. `part` is put before the files' names."""

    folder: Path
    part: str = ""
    _found: list[ScanFinding] = field(default_factory=list)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def add(self, rule: str, file: str, message: str, *, field: str = "", todo: str = "") -> None:
        """One more, unless the same was told of the file already."""
        place = f"{self.part}{file}" if file else self.part.rstrip("/")
        finding = ScanFinding(rule, place, field, self._local(message), self._local(todo))
        if (place, finding.message) not in self._told:
            self._told.add((place, finding.message))
            self._found.append(finding)

    def refusal(self, rule: str, file: str, error: InputRefused, *, field: str = "") -> None:
        """What loading refuses."""
        self.add(rule, file, f"{error.what} ({error.why})" if error.why else error.what, field=field, todo=error.todo)

    def attempt(self, rule: str, file: str, check: Callable[[], Value]) -> Value | None:
        """What the check returns; None, and a finding, if it refuses."""
        try:
            return check()
        except InputRefused as error:
            self.refusal(rule, file, error)
            return None

    def passes(self, rule: str, file: str, check: Callable[[], object]) -> bool:
        """Whether the check does not refuse; a finding if it does."""
        try:
            check()
        except InputRefused as error:
            self.refusal(rule, file, error)
            return False
        return True

    def findings(self) -> tuple[ScanFinding, ...]:
        """The worst first, otherwise as they were found; of many alike the first."""
        seen: Counter[tuple[str, str]] = Counter((one.rule, one.file) for one in self._found)
        kept: Counter[tuple[str, str]] = Counter()
        shown = []
        for one in self._found:
            kind = (one.rule, one.file)
            kept[kind] += 1
            if kept[kind] <= MOST_ALIKE:
                shown.append(one)
            elif kept[kind] == seen[kind]:
                rest = seen[kind] - MOST_ALIKE
                shown.append(ScanFinding(one.rule, one.file, "", f"{rest} more of the same kind"))
        return in_order(shown)

    def _local(self, text: str) -> str:
        """The text without the path to the folder."""
        folder = rf"(?<!\S){re.escape(str(self.folder))}"
        return re.sub(rf"{folder}(?=[\s:,]|$)", "the folder", re.sub(f"{folder}/", "", text))


def in_order(findings: Sequence[ScanFinding]) -> tuple[ScanFinding, ...]:
    """The worst first."""
    return tuple(sorted(findings, key=lambda one: _ORDER.index(one.severity)))
