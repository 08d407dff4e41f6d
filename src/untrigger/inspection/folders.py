"""The files of a folder: what is not opened, what may run, and what becomes of each in a purified copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from untrigger.errors import InputRefused
from untrigger.files import sha256
from untrigger.inspection.findings import Collector, ScanFinding
from untrigger.inspection.rules import Severity
from untrigger.models.adapters import ADAPTER_CONFIG
from untrigger.models.export import GENERATION
from untrigger.models.json_file import regular_file
from untrigger.models.tokenizer_files import CHAT_TEMPLATE, TOKENIZER_JSON, TOKENIZER_OTHER
from untrigger.models.untrusted.folder import check_entry, entries_of, pickle_findings

_CODE = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".bat", ".exe", ".ps1")
COPIED = tuple(name for name in TOKENIZER_OTHER if name != CHAT_TEMPLATE)
"""Files that a purified copy holds byte for byte."""


class Fate(StrEnum):
    """What becomes of a file in a purified copy."""

    KNOWN = "known"
    """Copied, and known to be a published one."""
    REGENERATED = "regenerated"
    """Read and written anew."""
    FLAGGED = "flagged"
    """Copied or read, and a finding tells of it."""
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class FileEntry:
    """A file with its size in bytes and its SHA-256 (None where it is no plain file)."""

    name: str
    fate: Fate
    bytes: int | None
    sha256: str | None


def check_files(found: Collector) -> None:
    """Every entry that is not opened, and pickles and programs beside the weights.

    Raises:
        InputRefused: the folder cannot be read.
    """
    for path in entries_of(found.folder):
        found.passes("unsafe-file", path.name, partial(check_entry, path))
        if path.suffix.lower() in _CODE:
            text = f"{path.name} is a program; it was not opened and is not copied"
            found.add("code", path.name, text, todo="do not run it, nor load the folder with trust_remote_code")
    for pickle in pickle_findings(found.folder):
        found.add("pickle", pickle.place, pickle.text, todo="delete it, or load the safetensors only")


def copied_files(found: Collector, read: bool) -> None:
    """Tell of files that would be copied as they are, if a tokenizer is `read` from this folder."""
    for name in COPIED:
        if read and (found.folder / name).is_file():
            text = f"{name} is copied as it is; it was loaded, not compared with any known file"
            found.add("copied-unchanged", name, text, todo="compare its SHA-256 with the model's source")


def inventory(
    folder: Path, part: str, read: Sequence[str], known: Sequence[str], findings: Sequence[ScanFinding]
) -> tuple[FileEntry, ...]:
    """Every file directly in the folder.

    Args:
        folder: where they lie.
        part: what stands before their names in findings.
        read: names of the files that loading reads.
        known: names of those that are known to be published ones.
        findings: what was found.
    """
    flagged = {one.file for one in findings if one.severity is not Severity.INFO or one.rule == "copied-unchanged"}
    return tuple(
        _entry(path, part, _fate(path.name, read, known, f"{part}{path.name}" in flagged))
        for path in sorted(folder.iterdir())
        if not path.is_dir()
    )


def _fate(name: str, read: Sequence[str], known: Sequence[str], flagged: bool) -> Fate:
    if name not in read:
        return Fate.LEFT_OUT
    if flagged:
        return Fate.FLAGGED
    return Fate.KNOWN if name in known else Fate.REGENERATED


def _entry(path: Path, part: str, fate: Fate) -> FileEntry:
    try:
        file = regular_file(path.parent, path.name)
        return FileEntry(f"{part}{path.name}", fate, file.stat().st_size, sha256(file))
    except (InputRefused, OSError):
        return FileEntry(f"{part}{path.name}", fate, None, None)


def files_read(weights: Sequence[str], tokenizer: bool) -> tuple[str, ...]:
    """Names of the files that loading reads: these weights, settings, and a tokenizer if it lies here."""
    settings = ("config.json", GENERATION, ADAPTER_CONFIG)
    return (*weights, *settings, *((*TOKENIZER_JSON, *TOKENIZER_OTHER) if tokenizer else ()))
