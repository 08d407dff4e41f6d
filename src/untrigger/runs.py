"""The run folder: one folder a stage with a completion mark, so that the same command goes on where it stopped."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from untrigger.errors import UsageError
from untrigger.files import disk_errors, sha256, sync

MARK = "COMPLETE"
IDENTITY = "run.json"
COST = "cost.json"


@dataclass(frozen=True)
class StageCost:
    """Wall time of the process that finished the stage, and tokens trained on."""

    name: str
    seconds: float
    tokens: int


class RunFolder:
    """Finished stages of one run. Create it through `open_run`, which takes the lock."""

    def __init__(self, path: Path, on_stage: Callable[[str, bool], None] | None = None) -> None:
        self.path = path
        self._on_stage = on_stage or (lambda name, finished: None)

    def stage(self, name: str, build: Callable[[Path], int]) -> Path:
        """The folder of a finished stage; `build` fills it if it is not there yet or was damaged.

        `build` gets a work folder that survives interruptions, so that it may keep a half-finished state in its
        `scratch` subfolder, which is dropped in the end; it returns the number of tokens trained on. The work folder
        is renamed when `build` returns.
        """
        final, work = self.path / name, self.path / f"{name}.partial"
        if is_complete(final):
            self._on_stage(name, True)
            return final
        self._on_stage(name, False)
        shutil.rmtree(final, ignore_errors=True)
        began = time.monotonic()
        with disk_errors(self.path):
            (work / "scratch").mkdir(parents=True, exist_ok=True)
            tokens = build(work)
            shutil.rmtree(work / "scratch")
            cost = StageCost(name, time.monotonic() - began, tokens)
            (work / COST).write_text(json.dumps(asdict(cost)))
            mark_complete(work)
            work.rename(final)
            sync(self.path)
        return final

    def finished(self, name: str) -> bool:
        """Whether a stage is finished and undamaged."""
        return is_complete(self.path / name)

    def costs(self) -> list[StageCost]:
        """What every finished stage cost, in the order they were finished."""
        files = sorted(self.path.glob(f"*/{COST}"), key=lambda file: file.stat().st_mtime_ns)
        return [StageCost(**json.loads(file.read_text())) for file in files]


@contextmanager
def open_run(
    path: Path,
    identity: Mapping[str, object],
    on_stage: Callable[[str, bool], None] | None = None,
    flag: str = "--run",
) -> Iterator[RunFolder]:
    """Opens or creates a run folder for exactly this configuration, and holds its lock.

    `flag` is the option that names the folder, for messages.

    Raises:
        UsageError: the folder belongs to another configuration (the difference is named), holds other things, or is
            in use by another process.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    known = path / IDENTITY
    if not known.exists() and any(child.name not in ("lock", f"{IDENTITY}.new") for child in path.iterdir()):
        raise UsageError(f"{path} is not empty and holds no run", todo=f"name another folder with {flag}")
    with _locked(path):
        if known.exists():
            _require_same(json.loads(known.read_text()), identity, path, flag)
        else:
            with disk_errors(path):
                fresh = path / f"{IDENTITY}.new"
                fresh.write_text(json.dumps(identity, indent=1, sort_keys=True))
                fresh.rename(known)
        yield RunFolder(path, on_stage)


def is_complete(folder: Path) -> bool:
    """Whether the folder's mark is there and every file still has the recorded SHA-256."""
    mark = folder / MARK
    if not mark.is_file():
        return False
    hashes = json.loads(mark.read_text())
    return all((folder / n).is_file() and sha256(folder / n) == digest for n, digest in hashes.items())


def mark_complete(folder: Path) -> dict[str, str]:
    """Writes the mark: the SHA-256 of every file below the folder, all of them on disk first."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MARK)
    hashes = {str(p.relative_to(folder)): sha256(p) for p in files}
    for file in files:
        sync(file)
    (folder / MARK).write_text(json.dumps(hashes, indent=1))
    sync(folder / MARK)
    sync(folder)
    return hashes


def _require_same(old: Mapping[str, object], new: Mapping[str, object], path: Path, flag: str) -> None:
    fresh = json.loads(json.dumps(new))
    changed = sorted(key for key in {*old, *fresh} if old.get(key) != fresh.get(key))
    if changed:
        what = "; ".join(f"{key}: {_short(old.get(key))} then, {_short(fresh.get(key))} now" for key in changed)
        raise UsageError(
            f"{path} holds a run of another configuration ({what})",
            todo=f"use the same options, or name another folder with {flag}",
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with disk_errors(path):
        handle = (path / "lock").open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UsageError(
                f"{path} is in use by process {handle.read().strip() or 'unknown'}",
                todo="wait for it or stop it",
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
