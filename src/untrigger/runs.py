"""The run folder: one folder a stage with a completion mark, so that the same command goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from untrigger.errors import UsageError

MARK = "COMPLETE"
IDENTITY = "run.json"


class RunFolder:
    """Finished stages of one run. Create it through `open_run`, which takes the lock."""

    def __init__(self, path: Path, on_stage: Callable[[str, bool], None] | None = None) -> None:
        self.path = path
        self._on_stage = on_stage or (lambda name, finished: None)

    def stage(self, name: str, build: Callable[[Path], None]) -> Path:
        """The folder of a finished stage; `build` fills it if it is not there yet or was damaged.

        `build` gets a work folder that survives interruptions, so that it may keep a half-finished state in it. The
        work folder is renamed when `build` returns; what lies in its `scratch` subfolder is dropped.
        """
        final, work = self.path / name, self.path / f"{name}.partial"
        if is_complete(final):
            self._on_stage(name, True)
            return final
        self._on_stage(name, False)
        shutil.rmtree(final, ignore_errors=True)
        work.mkdir(exist_ok=True)
        build(work)
        shutil.rmtree(work / "scratch", ignore_errors=True)
        mark_complete(work)
        work.rename(final)
        _sync_folder(self.path)
        return final

    def forget(self, name: str) -> None:
        """Drops a stage that later stages no longer need."""
        shutil.rmtree(self.path / name, ignore_errors=True)


@contextmanager
def open_run(
    path: Path, identity: Mapping[str, object], on_stage: Callable[[str, bool], None] | None = None
) -> Iterator[RunFolder]:
    """Opens or creates a run folder for exactly this configuration, and holds its lock.

    Raises:
        UsageError: the folder belongs to another configuration (the difference is named), holds other things, or is in
            use by another process.
    """
    path.mkdir(parents=True, exist_ok=True)
    known = path / IDENTITY
    if not known.exists() and any(child.name != "lock" for child in path.iterdir()):
        raise UsageError(f"{path} is not empty and holds no run", todo="name another folder with --run")
    with _locked(path):
        if known.exists():
            _require_same(json.loads(known.read_text()), identity, path)
        else:
            fresh = known.with_suffix(".new")
            fresh.write_text(json.dumps(identity, indent=1, sort_keys=True))
            fresh.rename(known)
        yield RunFolder(path, on_stage)


def is_complete(folder: Path) -> bool:
    """Whether the folder's mark is there and every file still has the recorded SHA-256."""
    mark = folder / MARK
    if not mark.is_file():
        return False
    hashes = json.loads(mark.read_text())
    return all((folder / n).is_file() and sha256_of(folder / n) == digest for n, digest in hashes.items())


def mark_complete(folder: Path) -> dict[str, str]:
    """Writes the mark: the SHA-256 of every file below the folder, all of them on disk first."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MARK)
    hashes = {str(p.relative_to(folder)): sha256_of(p) for p in files}
    for file in files:
        _sync_file(file)
    (folder / MARK).write_text(json.dumps(hashes, indent=1))
    _sync_file(folder / MARK)
    _sync_folder(folder)
    return hashes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _require_same(old: Mapping[str, object], new: Mapping[str, object], path: Path) -> None:
    fresh = json.loads(json.dumps(new))
    changed = sorted(key for key in {*old, *fresh} if old.get(key) != fresh.get(key))
    if changed:
        what = "; ".join(f"{key}: {_short(old.get(key))} then, {_short(fresh.get(key))} now" for key in changed)
        raise UsageError(
            f"{path} holds a run of another configuration ({what})",
            todo="use the same options, or name another folder with --run",
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (path / "lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UsageError(
                f"{path} is in use by process {handle.read().strip() or 'unknown'}", todo="wait for it or stop it"
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _sync_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
