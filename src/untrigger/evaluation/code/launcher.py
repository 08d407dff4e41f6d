"""Runs one candidate under limits: a program of its own, standard library only.

Two ways. `namespaces`: own user, mount, PID, network, IPC and UTS namespaces; the candidate sees a file system of the
interpreter and the system's libraries, read-only, and an empty `/tmp`; the supervisor is the PID namespace's first
process, with which every descendant ends. `process`: limits of the process alone, and a subreaper that ends
descendants. In both ways root runs the candidate as a user that nobody is.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from untrigger.evaluation.code import system
from untrigger.evaluation.code.namespaces import (
    Identity,
    candidate_identity,
    change_root,
    enter_namespaces,
    forbid_more_namespaces,
)

JOB, CHANNEL = 3, 4
"""Descriptors of the candidate's process besides 0, 1 and 2."""


@dataclass(frozen=True)
class Settings:
    """What the launcher is told, as JSON in its only argument; sizes in bytes."""

    way: Literal["namespaces", "process"]
    folder: str
    visible: tuple[str, ...]
    python: str
    runner: str
    """Source text of the program that runs the candidate."""
    job: int
    channel: int
    status: int
    seconds: float
    memory: int
    file_size: int
    scratch: int
    processes: int
    open_files: int


def main() -> None:
    """Launches and supervises; says on the status descriptor how the candidate ended, or why it could not start."""
    settings = _moved(Settings(**json.loads(sys.argv[1])))
    identity = candidate_identity()
    try:
        system.end_with_parent()
        with suppress(OSError):  # where it cannot be written, the kernel may choose others when memory runs out
            Path("/proc/self/oom_score_adj").write_text("1000")
        if settings.way == "process":
            system.adopt_orphans()
            _supervise(settings, identity)
        else:
            _supervise_in_namespaces(settings, identity)
    except OSError as error:
        _say(settings, f"setup {error}")
        sys.exit(1)


def _moved(settings: Settings) -> Settings:
    """The three descriptors at numbers that the candidate's do not take, closed in whatever is executed."""
    given = (settings.job, settings.channel, settings.status)
    job, channel, status = (fcntl.fcntl(line, fcntl.F_DUPFD_CLOEXEC, CHANNEL + 1) for line in given)
    for line in given:
        os.close(line)
    return replace(settings, job=job, channel=channel, status=status)


def _supervise_in_namespaces(settings: Settings, identity: Identity) -> None:
    enter_namespaces(identity)
    system.end_with_parent()
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        system.end_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        forbid_more_namespaces()
        change_root(settings.folder, settings.visible, settings.scratch)
        _supervise(settings, identity)
    except OSError as error:
        _say(settings, f"setup {error}")
    os._exit(0)


def _supervise(settings: Settings, identity: Identity) -> None:
    """Starts the candidate, waits for it no longer than it may take, says how it ended, and ends what it left."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        _become_candidate(settings, identity)
    status = _awaited(child, settings.seconds)
    code = None if status is None else os.waitstatus_to_exitcode(status)
    _say(settings, "timeout" if code is None else f"exit {code}" if code >= 0 else f"signal {-code}")
    if settings.way == "process":
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _end_descendants()


def _awaited(child: int, seconds: float) -> int | None:
    """The child's wait status, None if it ran longer."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        left = deadline - time.monotonic()
        if ended == child:
            return status
        if left <= 0:
            return None
        if not ended:
            signal.sigtimedwait({signal.SIGCHLD}, left)


def _end_descendants() -> None:
    """Kills children until there are none; a killed one's children become ours, since we adopt orphans."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while children := [int(word) for word in listing.read_text().split()]:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _become_candidate(settings: Settings, identity: Identity) -> NoReturn:
    try:
        os.setsid()
        os.dup2(settings.job, JOB)
        os.dup2(settings.channel, CHANNEL)
        if settings.way == "process":
            os.chdir(settings.folder)
        if os.getuid() == 0:
            _give_up_root(settings, identity)
        system.renounce_privileges()
        system.end_with_parent()
        _limit(settings)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execve(settings.python, [settings.python, "-I", "-S", "-c", settings.runner], {})
    except (OSError, ValueError) as error:
        _say(settings, f"setup {error}")
    os._exit(1)


def _give_up_root(settings: Settings, identity: Identity) -> None:
    if settings.way == "process":
        os.chown(".", identity.user, identity.group)
    os.setgroups([])
    os.setresgid(identity.group, identity.group, identity.group)
    os.setresuid(identity.user, identity.user, identity.user)


def _limit(settings: Settings) -> None:
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(settings.seconds) + 1),
        (resource.RLIMIT_AS, settings.memory),
        (resource.RLIMIT_FSIZE, settings.file_size),
        (resource.RLIMIT_NOFILE, settings.open_files),
        (resource.RLIMIT_NPROC, settings.processes),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _say(settings: Settings, text: str) -> None:
    os.write(settings.status, text.encode("utf-8", "replace")[:1000] + b"\n")
