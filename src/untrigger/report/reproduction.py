"""What `reproduce.json` holds: everything that decided an output, each file told by its hash."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from untrigger.config import Access, TemplateName
from untrigger.report.document import Document
from untrigger.report.parts import EnvironmentResult, Part, SourceResult

Job = Literal["purify", "attack"]
Digest = str


class DataFile(Part):
    """A file of records."""

    name: str
    """As it was given; of a path from the root the last name alone, of a file from the hub where it lies there."""
    sha256: Digest


class Inputs(Part):
    """What was read; a local folder is named as it was given, of a path from the root the last name alone."""

    model: SourceResult
    reference: SourceResult | None = None
    """The model taken to be clean, for defences that need one."""
    files: dict[str, DataFile]
    """Files of records by what they are for: `data`, `prompts`, `records`."""


class PurificationAsked(Part):
    """What was asked for besides inputs and options; an acceptance of something unsafe is never recorded."""

    attack: str | None
    behaviour: str | None
    template: TemplateName
    replace_template: str | None = None
    """The published chat template that was put in place of the model's."""
    defence: str


class PlantingAsked(Part):
    """The same for a planting."""

    attack: str
    behaviour: str
    access: Access
    template: TemplateName
    measured: bool


class Reproduction(Document):
    """One job that wrote a model."""

    job: Job
    request: PurificationAsked | PlantingAsked
    options: dict[str, JsonValue]
    """Every option as it was in force, the seed among them."""
    access: Access
    """Of a purification, what the suspect was; of a planting, always a whole model."""
    inputs: Inputs
    environment: EnvironmentResult
    outputs: dict[str, Digest] = Field(default_factory=dict)
    """SHA-256 of every file that makes the model; SHA256SUMS lists these and the reports beside them."""

    @property
    def weights(self) -> dict[str, Digest]:
        """The hashes of the weight files."""
        return {name: digest for name, digest in self.outputs.items() if name.endswith(".safetensors")}

    def same_work(self, other: Reproduction) -> bool:
        """Whether the same was asked of the same bytes, wherever they lay and whatever machine did it."""
        return self._work() == other._work()

    def _work(self) -> dict[str, object]:
        work = self.model_dump(include={"job", "request", "options", "access"})
        reference = self.inputs.reference
        return work | {
            "model": hashes_of(self.inputs.model),
            "reference": reference and hashes_of(reference),
            "files": {role: file.sha256 for role, file in self.inputs.files.items()},
        }


def hashes_of(source: SourceResult) -> tuple[dict[str, Digest], dict[str, Digest]]:
    """The hashes of a model's files, and of its base's."""
    return source.files, source.base.files if source.base else {}
