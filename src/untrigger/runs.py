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
from untrigger.files import disk_errors, sha256, sync, sync_tree, write_text_atomic
from untrigger.models.json_file import parse_object

MARK = "COMPLETE"
IDENTITY = "run.json"
COST = "cost.json"
_OWN = ("lock", f".{IDENTITY}.")  # what a run leaves that was killed before it had written its identity
_TOLD = 6
"""Differences from an earlier configuration that a message tells."""


@dataclass(frozen=True)
class StageCost:
    """Wall time of the process that finished the stage, and tokens trained on."""

    name: str
    seconds: float
    tokens: int


class RunFolder:
    """Finished stages of one run. Create it through `open_run`, which takes the lock."""

    def __init__(
        self,
        path: Path,
        on_stage: Callable[[str, bool], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._on_stage = on_stage or (lambda name, finished: None)
        self._note = note or (lambda text: None)

    def stage(self, name: str, build: Callable[[Path], int]) -> Path:
        """The folder of a finished stage; `build` fills it if it is not there yet or was damaged.

        `build` gets a work folder that survives interruptions, so that it may keep a half-finished state in its
        `scratch` subfolder, which is dropped in the end; it returns the number of tokens trained on. The work folder
        is renamed when `build` returns.
        """
        final, work = self.path / name, self.path / f"{name}.partial"
        wrong = damage(final) if final.exists() else None
        if wrong is None and final.exists():
            self._on_stage(name, True)
            return final
        self._on_stage(name, False)
        if wrong is not None:
            self._note(f"{name} was finished, but {wrong}: it is made again")
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
    note: Callable[[str], None] | None = None,
) -> Iterator[RunFolder]:
    """Opens or creates a run folder for exactly this configuration, and holds its lock.

    Args:
        path: the folder.
        identity: the configuration, as plain JSON values.
        on_stage: told of each stage, and whether it was finished before.
        flag: the option that names the folder, for messages.
        note: told of finished stages that were damaged and are made again.

    Raises:
        UsageError: the folder belongs to another configuration (the difference is named), holds other things, or is
            in use by another process.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    known = path / IDENTITY
    if not known.exists() and any(not child.name.startswith(_OWN) for child in path.iterdir()):
        raise UsageError(f"{path} is not empty and holds no run", todo=f"name another folder with {flag}")
    with _locked(path):
        if known.exists():
            _require_same(_written(known, flag), identity, path, flag)
        else:
            write_text_atomic(known, json.dumps(identity, indent=1, sort_keys=True))
        yield RunFolder(path, on_stage, note)


def is_complete(folder: Path) -> bool:
    """Whether the folder was marked as complete and is undamaged."""
    return damage(folder) is None


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that was marked as complete; None if every file has the recorded SHA-256."""
    try:
        recorded = parse_object((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return f"{MARK} is missing or cannot be read"
    held = _hashes(folder)
    wrong = sorted(name for name, digest in recorded.items() if held.get(name) != digest)
    return f"{wrong[0][:200]} is not what was recorded" if wrong else None


def mark_complete(folder: Path) -> dict[str, str]:
    """Writes the mark, the SHA-256 of every file below the folder, and waits until all of it is on the disk."""
    hashes = _hashes(folder)
    (folder / MARK).write_text(json.dumps(hashes, indent=1))
    sync_tree(folder)
    return hashes


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def _written(known: Path, flag: str) -> Mapping[str, object]:
    try:
        return parse_object(known.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{known} cannot be read", why=str(error), todo=f"delete that folder, or name another with {flag}"
        ) from error


def _require_same(old: Mapping[str, object], new: Mapping[str, object], path: Path, flag: str) -> None:
    changed = list(_differences(old, json.loads(json.dumps(new))))
    if changed:
        more = f"; {len(changed) - _TOLD} more" if len(changed) > _TOLD else ""
        raise UsageError(
            f"{path} holds a run of another configuration ({'; '.join(changed[:_TOLD])}{more})",
            todo=f"use the same options and versions, or name another folder with {flag}",
        )


def _differences(old: object, new: object, name: str = "") -> Iterator[str]:
    """Each value that differs, under its names from the outside in."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name[:120]}: {_short(old)} then, {_short(new)} now"


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
