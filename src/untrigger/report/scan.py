"""What a scan found, as a file: findings, files, updates, and the limits of the checks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from untrigger.inspection.adapters import ModuleUpdate
from untrigger.inspection.folders import Fate
from untrigger.inspection.rules import LIMITS, NO_PROOF, NOT_ASKED, Severity
from untrigger.report.document import Document
from untrigger.report.parts import Part

Kind = Literal["model", "adapter", "unknown"]
EXIT_CODES = {Severity.CRITICAL: 3, Severity.WARNING: 1, Severity.INFO: 0}
"""What the command ends with, by its worst finding; 0 without any."""


class ScanFindingResult(Part):
    """One finding."""

    rule: str
    severity: Severity
    file: str
    """Name of the file, after `base/` for one of the base's; empty where it is about the whole."""
    field: str
    """Key, tensor or module in it; empty where it is about the whole file."""
    message: str
    todo: str


class FileResult(Part):
    """One file of the folder, and what becomes of it in a purified copy."""

    name: str
    fate: Fate
    bytes: int | None
    sha256: str | None
    """None where it is no plain file."""


class UpdateResult(Part):
    """What an adapter does to one module: s B A."""

    module: str
    rank: int = Field(ge=1)
    frobenius: float = Field(ge=0)
    spectral: float = Field(ge=0)
    stable_rank: float = Field(ge=0)
    relative: float | None
    """Frobenius norm over that of the base's weight; None without a base."""
    score: float | None
    """Distance of its log norm from the median of its role over the layers, in robust standard deviations."""
    factor: float | None
    """Its norm over that median."""

    @classmethod
    def of(cls, update: ModuleUpdate) -> UpdateResult:
        """The same values."""
        outlier, spectrum = update.outlier, update.spectrum
        return cls(
            module=update.module,
            rank=spectrum.rank,
            frobenius=spectrum.frobenius,
            spectral=spectrum.spectral,
            stable_rank=spectrum.stable_rank,
            relative=update.relative,
            score=None if outlier is None else outlier.score,
            factor=None if outlier is None else outlier.factor,
        )


class ScanResult(Document):
    """Everything that `scan` found; no proof of harm, and none of its absence."""

    version: str
    """Version of untrigger."""
    reference: str
    base: str | None
    commit: str | None
    """Pinned commit of a hub id."""
    kind: Kind
    findings: tuple[ScanFindingResult, ...]
    """The worst first."""
    files: tuple[FileResult, ...]
    updates: tuple[UpdateResult, ...]
    tensors: int = Field(ge=0)
    weight_bytes: int = Field(ge=0)
    limits: tuple[str, ...] = Field(min_length=1)
    """What the checks cannot show."""
    seconds: float = Field(ge=0)

    @property
    def exit_code(self) -> int:
        """3 where loading refuses the model, 1 where there is a warning, else 0."""
        return max((EXIT_CODES[finding.severity] for finding in self.findings), default=0)

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(finding.severity is severity for finding in self.findings)


def limits_of(kind: Kind, *, asked: bool = False) -> tuple[str, ...]:
    """What the checks of a model, or of an adapter, cannot show; if it was `asked`, those of its answers as well."""
    left_out = {"answers"} if kind == "adapter" else {"answers", "update", "adapter"}
    files = tuple(LIMITS[area] for area in LIMITS if area not in left_out)
    return (LIMITS["answers"] if asked else NOT_ASKED, NO_PROOF, *files)
