"""The record of a job that writes a model: made before it begins, written with it, read to check or repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from untrigger.checksums import RECORD, Recorder
from untrigger.config import AttackOptions, PurifyOptions
from untrigger.data.locate import hub_reference
from untrigger.errors import UsageError
from untrigger.files import sha256
from untrigger.models.json_file import CONFIG_LIMIT
from untrigger.models.subject import Source, Subject
from untrigger.report.parts import SourceResult
from untrigger.report.reproduction import DataFile, Inputs, Job, PlantingAsked, PurificationAsked, Reproduction
from untrigger.report.summary import environment_result

FILE_ROLES = ("data", "prompts", "records")


def run_record(
    job: Job,
    asked: Mapping[str, object],
    options: PurifyOptions | AttackOptions,
    subject: Subject,
    reference: Subject | None = None,
) -> Reproduction:
    """The record of a run, without outputs; `asked` holds what shapes the run besides model and options."""
    parameter = next(subject.model.parameters())
    kind = PurificationAsked if job == "purify" else PlantingAsked
    files = {role: asked.get(role) for role in FILE_ROLES}
    return Reproduction(
        job=job,
        request=kind.model_validate({name: value for name, value in asked.items() if name not in FILE_ROLES}),
        options=options.model_dump(mode="json"),
        access=subject.access,
        inputs=Inputs(
            model=portable_source(subject.source),
            reference=None if reference is None else portable_source(reference.source),
            files={role: _data_file(path) for role, path in files.items() if isinstance(path, Path)},
        ),
        environment=environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads()),
    )


def writer(record: Reproduction) -> Recorder:
    """What writes the record once the output's hashes are known."""
    return lambda outputs: record.model_copy(update={"outputs": dict(outputs)}).to_json()


def read_record(path: Path) -> Reproduction:
    """The record in a file, or in a folder's `reproduce.json`.

    Raises:
        UsageError: there is none, or it is broken or of another version.
    """
    file = path / RECORD if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            text = opened.read(CONFIG_LIMIT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read",
            why=str(error),
            todo="name an output of purify or attack, or its reproduce.json",
        ) from error
    return Reproduction.from_json(text, str(file))


def portable(reference: str | Path) -> str:
    """A reference without what says something of this machine alone: of an absolute path the last name."""
    path = Path(reference)
    return path.name if path.is_absolute() or path.parts[:1] == ("~",) else str(reference)


def portable_source(source: Source) -> SourceResult:
    """Where a model came from, without the folders above it."""
    base = None if source.base is None else portable_source(source.base)
    return SourceResult(
        reference=portable(source.reference), commit=source.commit, files=dict(source.files), base=base
    )


def _data_file(path: Path) -> DataFile:
    return DataFile(name=hub_reference(path) or portable(path), sha256=sha256(path))
