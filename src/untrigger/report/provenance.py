"""What `verify` and `reproduce` found, and what `push` did."""

from __future__ import annotations

from typing import Literal

from pydantic import computed_field

from untrigger.report.document import Document
from untrigger.report.parts import Part
from untrigger.report.reproduction import Digest, Job


class FileChange(Part):
    """A file that is not as it was recorded."""

    name: str
    kind: Literal["changed", "missing", "extra", "link"]


class InputCheck(Part):
    """One input held against the record."""

    given: str
    role: str | None
    """What the record calls it, where all its files are recorded ones: model, base, reference, data, ..."""
    changes: tuple[FileChange, ...] = ()
    """Against the recorded input that it comes closest to."""


class Verification(Document):
    """Whether a folder is what was written."""

    folder: str
    job: Job | None
    """None without `reproduce.json`."""
    files: int
    """Files that SHA256SUMS lists."""
    changes: tuple[FileChange, ...]
    inputs: tuple[InputCheck, ...] = ()
    signature: Literal["none", "not checked", "valid", "invalid"]
    signature_fault: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def well(self) -> bool:
        """Nothing differs, every input is a recorded one, and the signature is valid if it was to be checked."""
        recorded = all(check.role is not None for check in self.inputs)
        return not self.changes and recorded and self.signature != "invalid"


class Difference(Part):
    """One thing about the machine that was another when the output was made."""

    name: str
    recorded: str
    now: str


class WeightComparison(Part):
    """A weight file, then and now."""

    name: str
    recorded: Digest
    made: Digest | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def equal(self) -> bool:
        """Bit for bit."""
        return self.recorded == self.made


class ReproductionResult(Document):
    """Whether a job, done again, gave the same weights."""

    job: Job
    output: str
    environment: tuple[Difference, ...]
    weights: tuple[WeightComparison, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def equal(self) -> bool:
        """All weight files are bit-equal."""
        return all(file.equal for file in self.weights)


class PushResult(Document):
    """Where an output is on the hub."""

    folder: str
    repository: str
    created: bool
    """Whether the repository was made now."""
    sent: bool
    """False if the hub held all of it before."""
    commit: str
    commit_url: str
    pull_request: str | None
    """Its address; None if the files are on the branch itself."""
    others: tuple[str, ...]
    """Files on the branch that are none of the output's; they were left as they are."""
