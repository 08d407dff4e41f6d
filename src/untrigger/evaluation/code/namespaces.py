"""A view of the machine with nothing in it: own users, processes, network, and a read-only file system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from untrigger.evaluation.code import system

NOBODY, NOBODIES = 60578, 600
"""Users that belong to nobody: 60578 to 61183 are unused in systemd's list of ranges (UIDS-GIDS.md)."""


@dataclass(frozen=True)
class Identity:
    """The user and group that a candidate runs as."""

    user: int
    group: int


def candidate_identity() -> Identity:
    """Our own, or for root a nobody's, since the kernel exempts root from the limit on processes."""
    nobody = NOBODY + os.getpid() % NOBODIES
    return Identity(os.getuid() or nobody, os.getgid() if os.getuid() else nobody)


def enter_namespaces(identity: Identity) -> None:
    """Leaves the namespaces, keeping our own identity in the new ones, and for root the candidate's besides.

    A child that stays behind writes the maps, as only it may map a second user.

    Raises:
        OSError: namespaces are refused here.
    """
    parent = os.getpid()
    wait, go = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(go)
        ready = os.read(wait, 1)
        os._exit(_write_maps(Path(f"/proc/{parent}"), identity) if ready else 1)
    os.close(wait)
    system.unshare()
    os.write(go, b"1")
    os.close(go)
    number = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if number:
        raise OSError(number, f"user map: {os.strerror(number)}")


def forbid_more_namespaces() -> None:
    """In the new user namespace, nobody can make another: a candidate would be its root."""
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def change_root(folder: str, visible: Iterable[str], scratch: int) -> None:
    """A new file system on an empty folder: the visible paths, read-only, and `/tmp` in memory of `scratch` bytes.

    Raises:
        OSError: mounting is refused here.
    """
    safe = system.NO_SETUID | system.NO_DEVICES
    system.mount(None, "/", None, system.RECURSIVE | system.PRIVATE)
    system.mount("tmpfs", folder, "tmpfs", safe, "size=1m,mode=755")
    for path in map(Path, visible):
        _show(path, Path(f"{folder}{path}"))
    for place in _mounts_below(folder):
        kept = os.statvfs(place).f_flag & (safe | system.NO_EXECUTION)
        system.mount(None, place, None, system.REMOUNT | system.BIND | system.READ_ONLY | safe | kept)
    Path(folder, "tmp").mkdir()
    system.mount("tmpfs", f"{folder}/tmp", "tmpfs", safe, f"size={scratch},nr_inodes=1k,mode=1777")
    system.mount(None, folder, None, system.REMOUNT | system.BIND | system.READ_ONLY | safe)
    system.enter_root(folder)
    os.chdir("/tmp")


def _write_maps(process: Path, identity: Identity) -> int:
    """Numbers inside are those outside; root's own are needed for the set-up and given away afterwards."""
    own = "" if os.getuid() else "0 0 1\n"
    try:
        if os.getuid():
            (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"{own}{identity.user} {identity.user} 1\n")
        (process / "gid_map").write_text(f"{own}{identity.group} {identity.group} 1\n")
    except OSError as error:
        return error.errno or 1
    return 0


def _show(path: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        copy.symlink_to(path.readlink())
        return
    if path.is_dir():
        copy.mkdir(exist_ok=True)
    else:
        copy.touch()
    system.mount(str(path), str(copy), None, system.BIND | system.RECURSIVE)


def _mounts_below(folder: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    # spaces and the like are written as octal escapes
    places = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in lines]
    return [os.fsdecode(place) for place in places if place.startswith(os.fsencode(f"{folder}/"))]
