"""The inputs that a record names: found again, and held against their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from untrigger.data.locate import SCHEME, data_file
from untrigger.errors import UsageError
from untrigger.files import sha256
from untrigger.models.hub import is_hub_reference
from untrigger.models.load import identify
from untrigger.models.locate import MICRO, SMOLLM2
from untrigger.models.subject import Source
from untrigger.report.parts import SourceResult
from untrigger.report.provenance import FileChange
from untrigger.report.reproduction import DataFile, Inputs, Reproduction


@dataclass(frozen=True)
class Found:
    """Where the inputs are now; models in any form that a model can be named."""

    model: str
    base: str | None
    reference: str | None
    files: Mapping[str, Path]


def find_inputs(record: Reproduction, given: Mapping[str, str | None], beside: Path) -> Found:
    """What was given for a role, else what the record names: here, or in the folder `beside`.

    Raises:
        UsageError: it is in neither, or something is given for what the record does not name.
    """
    inputs, sources = record.inputs, recorded_models(record.inputs)
    for role in (role for role, value in given.items() if value is not None):
        if role not in sources and role not in inputs.files:
            known = ", ".join((*sources, *inputs.files))
            raise UsageError(f"the recorded job had no {role}", why=f"it had {known}", todo=f"drop --{role}")
    models = {role: given.get(role) or _model(role, source, beside) for role, source in sources.items()}
    files = {role: _file(role, file, given.get(role), beside) for role, file in inputs.files.items()}
    return Found(models["model"], models.get("base"), models.get("reference"), files)


def require_recorded(found: Found, inputs: Inputs) -> None:
    """Refuse inputs that are not, byte for byte, those of the record.

    Raises:
        UsageError: naming each input and its files that differ.
        InputRefused: a model that is unsafe, broken or unsupported.
    """
    faults = [*_model_faults(found, inputs)]
    for role, path in found.files.items():
        if sha256(path) != inputs.files[role].sha256:
            faults.append(f"{role} {path}: changed")
    if faults:
        raise UsageError(
            f"the inputs are not those recorded: {'; '.join(faults)}",
            todo="name the same files with --model, --base, --data, --prompts, --records or --reference",
        )


def recorded_models(inputs: Inputs) -> dict[str, SourceResult]:
    """The models that were read, by what they were for."""
    models = {"model": inputs.model, "base": inputs.model.base, "reference": inputs.reference}
    return {role: source for role, source in models.items() if source is not None}


def file_changes(recorded: Mapping[str, str], now: Mapping[str, str]) -> tuple[FileChange, ...]:
    """The files of a model that are not as recorded."""
    gone = [FileChange(name=name, kind="missing") for name in recorded if name not in now]
    new = [FileChange(name=name, kind="extra") for name in now if name not in recorded]
    both = [name for name in recorded if name in now and recorded[name] != now[name]]
    return (*(FileChange(name=name, kind="changed") for name in both), *gone, *new)


def _model_faults(found: Found, inputs: Inputs) -> Iterator[str]:
    source = identify(found.model, base=found.base)
    yield from _faults("model", source, inputs.model)
    if source.base is not None and inputs.model.base is not None:
        yield from _faults("base", source.base, inputs.model.base)
    if found.reference is not None and inputs.reference is not None:
        yield from _faults("reference", identify(found.reference), inputs.reference)


def _faults(role: str, now: Source, recorded: SourceResult) -> Iterator[str]:
    changed = file_changes(recorded.files, now.files)
    if changed:
        yield f"{role} {now.reference}: {', '.join(f'{change.name} {change.kind}' for change in changed)}"


def _model(role: str, recorded: SourceResult, beside: Path) -> str:
    name = recorded.reference
    if name in (MICRO, SMOLLM2):
        return name
    if recorded.commit is not None and is_hub_reference(name):
        return f"{name.partition('@')[0]}@{recorded.commit}"
    return str(_here(role, Path(name), beside))


def _file(role: str, recorded: DataFile, given: str | None, beside: Path) -> Path:
    named = given or (recorded.name if recorded.name.startswith(SCHEME) else None)
    path = data_file(named) if named else _here(role, Path(recorded.name), beside)
    if not path.is_file():
        raise UsageError(f"{path} is no file", todo=f"name the recorded one with --{role}")
    return path


def _here(role: str, path: Path, beside: Path) -> Path:
    for place in (path, beside / path):
        if place.exists():
            return place
    raise UsageError(
        f"the recorded {role} {path} is neither here nor in {beside}", todo=f"say where it is with --{role}"
    )
