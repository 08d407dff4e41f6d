"""The checksums of an output folder: written last, read back by anyone with `sha256sum -c`.

`SHA256SUMS` is the one list of hashes. `COMPLETE` holds the hash of that list alone, so that it still says that the
folder is whole and ours, and still guards every file, but nothing is recorded twice.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from untrigger.errors import InputRefused, UsageError
from untrigger.files import sha256, write_text_atomic

SUMS, COMPLETE, RECORD, SIGNATURE = "SHA256SUMS", "COMPLETE", "reproduce.json", "model.sig"
UNLISTED = frozenset({SUMS, COMPLETE, SIGNATURE})
"""Files that the list leaves out: itself, its mark, and a signature, which is made over the finished folder."""

Recorder = Callable[[Mapping[str, str]], str]
"""From the hashes of the model's own files to the text of `reproduce.json`."""

# A line of sha256sum in text or binary mode; names that would need its escapes are never written.
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>[^/\\\x00-\x1f]+)")
_LARGEST_LIST = 10_000_000


@dataclass(frozen=True)
class Change:
    """A file that is not as the list has it."""

    name: str
    kind: Literal["changed", "missing", "extra", "link"]


def seal(folder: Path, record: Recorder | None = None, reports: Collection[str] = ()) -> dict[str, str]:
    """Write `reproduce.json`, if `record` makes one, then `SHA256SUMS` and `COMPLETE`; returns what is listed.

    Args:
        folder: the finished files, without subfolders.
        record: is given the hash of every file but the `reports`.
        reports: files that differ from run to run, such as those with the time it took.
    """
    hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    if record is not None:
        text = record({name: digest for name, digest in hashes.items() if name not in reports})
        write_text_atomic(folder / RECORD, text)
        hashes[RECORD] = sha256(folder / RECORD)
    write_text_atomic(folder / SUMS, "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)))
    write_text_atomic(folder / COMPLETE, json.dumps({SUMS: sha256(folder / SUMS)}, indent=1) + "\n")
    return hashes


def require_sealed(folder: Path) -> None:
    """Tell a folder that was never sealed from one that was changed since.

    Raises:
        UsageError: there is no such folder, or neither a list nor a mark that speaks of one.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", todo="name an output of purify or attack")
    mark = _mark(folder) if (folder / COMPLETE).is_file() else None
    if not (folder / SUMS).is_file() and not (isinstance(mark, dict) and SUMS in mark):
        raise UsageError(f"{folder} holds no {SUMS}", todo="name an output of purify or attack")


def listed(folder: Path) -> dict[str, str]:
    """The names and hashes in a folder's `SHA256SUMS`.

    Raises:
        InputRefused: it is no such list, names a file twice, or names one elsewhere.
    """
    path = folder / SUMS
    if path.stat().st_size > _LARGEST_LIST:
        raise InputRefused(f"{path} has {path.stat().st_size} bytes", why=f"at most {_LARGEST_LIST} are read")
    hashes: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in hashes or match["name"] in (".", "..", *UNLISTED):
            raise InputRefused(f"{path}, line {number} is no checksum of a file beside it", why=repr(line[:100]))
        hashes[match["name"]] = match["digest"]
    return hashes


def changes(folder: Path) -> tuple[Change, ...]:
    """Every file that is not as it was sealed, by name; links are not followed, and subfolders are extra.

    Raises:
        InputRefused: as `listed`.
    """
    present = {path.name: path.lstat().st_mode for path in sorted(folder.iterdir())}
    whole = [SUMS] if _plain(present, SUMS) else []
    expected = listed(folder) if whole else {}
    found = [*_marked(folder, present), *_compared(folder, present, expected)]
    allowed = {*expected, *UNLISTED} if whole else set(present)  # without a list nothing is known to be extra
    found += [Change(name, "extra") for name in present if name not in allowed and not stat.S_ISLNK(present[name])]
    found += [Change(name, "link") for name, mode in present.items() if stat.S_ISLNK(mode)]
    return tuple(sorted(found, key=lambda change: change.name))


def told(found: Sequence[Change]) -> str:
    """The changes in one line, for messages; empty if there are none."""
    return ", ".join(f"{change.name} {change.kind}" for change in found)


def _plain(present: Mapping[str, int], name: str) -> bool:
    return name in present and stat.S_ISREG(present[name])


def _compared(folder: Path, present: Mapping[str, int], expected: Mapping[str, str]) -> Iterator[Change]:
    for name, digest in expected.items():
        if name not in present:
            yield Change(name, "missing")
        elif not stat.S_ISLNK(present[name]) and not (_plain(present, name) and sha256(folder / name) == digest):
            yield Change(name, "changed")


def _marked(folder: Path, present: Mapping[str, int]) -> Iterator[Change]:
    """The list itself against its mark."""
    yield from (Change(name, "missing") for name in (SUMS, COMPLETE) if name not in present)
    odd = (name for name in UNLISTED & present.keys() if not _plain(present, name))
    yield from (Change(name, "changed") for name in odd if not stat.S_ISLNK(present[name]))
    if _plain(present, SUMS) and _plain(present, COMPLETE) and _mark(folder) != {SUMS: sha256(folder / SUMS)}:
        yield Change(SUMS, "changed")


def _mark(folder: Path) -> object:
    try:
        with (folder / COMPLETE).open("rb") as file:
            mark: object = json.loads(file.read(_LARGEST_LIST))
    except (ValueError, RecursionError):
        return None
    return mark
