"""The three calls of Linux that Python 3.11 lacks; standard library only, as the launcher runs without packages."""

from __future__ import annotations

import ctypes
import os
import signal

# linux/sched.h: mount, UTS, IPC, user, PID and network namespace
NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
# linux/mount.h
READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXECUTION, REMOUNT = 1, 2, 4, 8, 32
BIND, RECURSIVE, PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
# linux/prctl.h
_DEATH_SIGNAL, _SUBREAPER, _NO_NEW_PRIVILEGES = 1, 36, 38


def unshare() -> None:
    """Leaves all namespaces that `NAMESPACES` names; the PID namespace is the next child's."""
    _call("unshare", NAMESPACES)


def mount(source: str | None, place: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mounts a file system or changes how one is mounted; the kernel's own arguments."""
    words = [None if word is None else os.fsencode(word) for word in (source, place, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), None if data is None else data.encode())


def enter_root(folder: str) -> None:
    """Makes a mounted folder the root of the file system and lets go of the old one."""
    os.chdir(folder)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)


def end_with_parent() -> None:
    """This process is killed when its parent ends; forgotten when credentials change."""
    _call("prctl", _DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _call("prctl", _SUBREAPER, 1, 0, 0, 0)


def renounce_privileges() -> None:
    """No program executed from here on gains rights by its file's bits."""
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _call(name: str, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True)[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
