"""Files that are never half written: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from untrigger.errors import UntriggerError, UsageError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start writing `needed` bytes where they cannot fit; the folder need not exist yet.

    Raises:
        UntriggerError: fewer bytes are free on the folder's file system.
    """
    free = _free_bytes(folder)
    if free < needed:
        raise _space_error(folder, needed, free)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never a part.

    Raises:
        UntriggerError: the disk is full or the folder is not writable.
    """
    data = text.encode()
    temporary = _temporary_sibling(path)
    with disk_errors(path.parent, len(data)):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def publish_folder(build: Callable[[Path], None], destination: Path) -> None:
    """Let `build` fill a temporary sibling folder, then give it its final name in one step.

    Nothing is left behind when `build` fails.

    Raises:
        UsageError: the destination exists.
        UntriggerError: the disk is full or the parent folder is not writable.
    """
    _require_absent(destination)
    temporary = _temporary_sibling(destination)
    with disk_errors(destination.parent):
        try:
            temporary.mkdir(parents=True)
            build(temporary)
            sync_tree(temporary)
            _require_absent(destination)
            temporary.rename(destination)
            sync(destination.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the system's refusals to write into UntriggerError, with the free bytes if space ran out."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _space_error(folder, needed, _free_bytes(folder)) from error
        raise UntriggerError(f"cannot write {error.filename or folder}", why=error.strerror or str(error)) from error
    except SafetensorError as error:
        code = _system_error(error)
        if code in _NO_SPACE:
            raise _space_error(folder, needed, _free_bytes(folder)) from error
        if code is not None:
            raise UntriggerError(f"cannot write weights in {folder}", why=os.strerror(code)) from error
        raise


def _system_error(error: SafetensorError) -> int | None:
    """The error number of a failed write, which safetensors tells in its message only."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _space_error(folder: Path, needed: int | None, free: int) -> UntriggerError:
    wanted = "" if needed is None else f"{needed} bytes needed, "
    return UntriggerError(
        f"not enough disk space in {folder}",
        why=f"{wanted}{free} bytes free",
        todo="free some space, or write elsewhere",
    )


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _require_absent(destination: Path) -> None:
    if os.path.lexists(destination):
        raise UsageError(f"{destination} exists already", todo="name a folder that does not exist yet")


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below, and the folder itself, is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
