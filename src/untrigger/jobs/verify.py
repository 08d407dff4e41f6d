"""`untrigger verify`: whether an output is what was written, from the inputs it names, and signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from untrigger.checksums import RECORD, SUMS, Change, changes, listed, require_sealed
from untrigger.files import sha256
from untrigger.jobs.record import read_record
from untrigger.jobs.recorded_inputs import file_changes, recorded_models
from untrigger.jobs.sign import signature_of
from untrigger.models.adapters import is_adapter, read_adapter_config
from untrigger.models.checkpoint import ADAPTER, MODEL, open_weights
from untrigger.models.configuration import read_configuration
from untrigger.models.load import cache_folder
from untrigger.models.locate import locate
from untrigger.models.subject import Source
from untrigger.models.untrusted.folder import check_folder
from untrigger.report.parts import SourceResult
from untrigger.report.provenance import FileChange, InputCheck, Verification
from untrigger.report.reproduction import Inputs, Reproduction


def verify(folder: Path, against: Sequence[str] = (), public_key: Path | None = None) -> Verification:
    """Holds every file against its recorded hash, and reads the weights' headers as if to load them.

    Args:
        folder: an output of `purify` or `attack`.
        against: models (in any form a model can be named) and files of records that should be recorded inputs.
        public_key: the signer's key; without it a signature is not checked.

    Raises:
        UsageError: no such output, or one without a record that inputs could be held against.
        InputRefused: a broken list of checksums, or weights that are as recorded and could not be loaded.
        UntriggerError: an input that cannot be fetched; signatures without the extra `sign`.
    """
    require_sealed(folder)
    found = changes(folder)
    touched = {change.name for change in found}
    sums = {} if SUMS in touched else listed(folder)
    record = read_record(folder) if RECORD in sums.keys() - touched or against else None
    if not found:
        found = tuple(_disagreements(record, sums))
        open_headers(folder)
    signed = signature_of(folder, public_key)
    return Verification(
        folder=str(folder),
        job=None if record is None else record.job,
        files=len(sums),
        changes=tuple(FileChange.model_validate(change) for change in found),
        inputs=tuple(check_input(given, record.inputs) for given in against) if record else (),
        signature=signed.state,
        signature_fault=signed.fault,
    )


def open_headers(folder: Path) -> None:
    """The checks of loading that need no tensor: names, shapes, types, configuration.

    Raises:
        InputRefused: unsafe, broken or unsupported files.
    """
    check_folder(folder)
    if is_adapter(folder):
        read_adapter_config(folder)
        open_weights(folder, ADAPTER)
    else:
        read_configuration(folder, open_weights(folder, MODEL))


def check_input(given: str, inputs: Inputs) -> InputCheck:
    """Which recorded input this is; if none, how it differs from the one it comes closest to.

    Raises:
        UsageError: it is neither a model nor a file.
    """
    path = Path(given).expanduser()
    if path.is_file():
        digest = sha256(path)
        role = next((role for role, known in _digests(inputs) if known == digest), None)
        return InputCheck(given=given, role=role)
    source = locate(given, cache_folder())
    candidates = {role: _differences(source, known) for role, known in recorded_models(inputs).items()}
    closest = min(candidates, key=lambda role: len(candidates[role]))
    return InputCheck(given=given, role=None if candidates[closest] else closest, changes=candidates[closest])


def _disagreements(record: Reproduction | None, sums: Mapping[str, str]) -> Iterator[Change]:
    """Files whose hash in the record is not that in the list."""
    outputs = {} if record is None else record.outputs
    yield from (Change(name, "changed") for name, digest in outputs.items() if sums.get(name) != digest)


def _digests(inputs: Inputs) -> Iterator[tuple[str, str]]:
    yield from ((role, file.sha256) for role, file in inputs.files.items())
    yield from (
        (role, digest) for role, source in recorded_models(inputs).items() for digest in source.files.values()
    )


def _differences(source: Source, recorded: SourceResult) -> tuple[FileChange, ...]:
    """Of the files that were read; others beside them decided nothing."""
    plain = [name for name in recorded.files if Path(name).name == name and (source.folder / name).is_file()]
    now = source.files | {name: sha256(source.folder / name) for name in plain}
    return file_changes(recorded.files, {name: now[name] for name in recorded.files if name in now})
