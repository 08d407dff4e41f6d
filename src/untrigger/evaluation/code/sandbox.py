"""One candidate program in a fresh contained process, and what became of it."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

import untrigger
from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.code.launcher import Settings

Outcome = Literal["passed", "failed", "timeout", "memory", "syntax error", "no code"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "timeout", "memory", "syntax error", "no code")

GRACE = 5.0
"""Seconds after which a launcher that did not end its candidate in time is ended itself."""
_CHANNEL_BYTES = 1024
_FIRST_WORDS: Mapping[str, Outcome] = {"syntax": "syntax error", "memory": "memory", "failed": "failed"}


@dataclass(frozen=True)
class Limits:
    """What a candidate may use; sizes in bytes. Memory is a process's, so `processes` times as much at worst."""

    seconds: float = 10.0
    memory: int = 512 * 2**20
    file_size: int = 16 * 2**20
    scratch: int = 16 * 2**20
    processes: int = 8
    open_files: int = 64
    output: int = 64 * 2**10


@dataclass(frozen=True)
class Containment:
    """How candidates are kept in, and what is missing."""

    way: Literal["namespaces", "process"]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A candidate with the test that defines `check`, which is called with the function `entry_point`."""

    source: str
    test: str
    entry_point: str


@dataclass(frozen=True)
class Trial:
    """What became of a candidate; `detail` is the name of an exception or the way it ended."""

    outcome: Outcome
    detail: str
    seconds: float


@dataclass(frozen=True)
class _Heard:
    """What came over the three lines before they were closed."""

    output: bytes
    channel: bytes
    status: bytes


def containment() -> Containment:
    """The strongest containment that works on this machine, found by running a harmless program.

    Raises:
        UsageError: not Linux.
        UntriggerError: not even the limits of a process can be set.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError(
            f"code cannot be contained on {sys.platform}",
            why="the limits and namespaces used are Linux's",
            todo="run it on Linux, or in a Linux container",
        )
    refused = _refusal(Containment("namespaces"))
    if refused is None:
        return Containment("namespaces")
    if (failed := _refusal(Containment("process"))) is not None:
        todo = "run it as an ordinary user whose Python other users may read" if os.getuid() == 0 else ""
        raise UntriggerError("no code can be run under limits here", why=failed, todo=todo)
    return Containment("process", _missing(refused))


def run_candidate(program: Program, contained: Containment, limits: Limits | None = None) -> Trial:
    """Runs a candidate and its test once, never in this process.

    Raises:
        UntriggerError: the containment could not be set up; nothing was run.
    """
    limits = limits or Limits()
    began = time.monotonic()
    token = secrets.token_hex(16).encode()
    heard = _hear(program, contained, limits, token)
    status = heard.status.decode("utf-8", "replace").partition("\n")[0]
    if status.startswith("setup "):
        raise UntriggerError("a candidate's containment could not be set up", why=status.removeprefix("setup "))
    outcome, detail = _judged(status, heard, token, limits)
    return Trial(outcome, detail, time.monotonic() - began)


def _judged(status: str, heard: _Heard, token: bytes, limits: Limits) -> tuple[Outcome, str]:
    if status in ("timeout", f"signal {int(signal.SIGXCPU)}"):
        return "timeout", f"more than {limits.seconds:g} seconds"
    if status == "exit 0" and heard.channel == token:
        return "passed", ""
    word, _, detail = heard.channel.decode("utf-8", "replace").partition(" ")
    if status == "exit 0" and word in _FIRST_WORDS:
        return _FIRST_WORDS[word], detail
    return "failed", f"ended early: {status or 'without a status'}"


def _hear(program: Program, contained: Containment, limits: Limits, token: bytes) -> _Heard:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="untrigger-", ignore_cleanup_errors=True))
        job = stack.enter_context(tempfile.TemporaryFile())
        job.write(json.dumps([program.source, program.test, program.entry_point]).encode())
        job.seek(0)
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.sendall(token)
        status, written = (stack.enter_context(os.fdopen(end, mode, 0)) for end, mode in _pipe())
        settings = _settings(contained, limits, folder, (job.fileno(), theirs.fileno(), written.fileno()))
        output = stack.enter_context(_launched(settings))
        theirs.close()
        written.close()
        lines = {output.fileno(): limits.output, ours.fileno(): _CHANNEL_BYTES, status.fileno(): _CHANNEL_BYTES}
        heard = _read_all(lines, {ours.fileno(): ours, output.fileno(): output}, limits.seconds + GRACE)
        return _Heard(*(heard[line] for line in lines))


def _pipe() -> tuple[tuple[int, Literal["rb"]], tuple[int, Literal["wb"]]]:
    read, write = os.pipe()
    return (read, "rb"), (write, "wb")


def _settings(contained: Containment, limits: Limits, folder: str, descriptors: tuple[int, int, int]) -> Settings:
    python = Path(sys.executable).resolve()
    job, channel, status = descriptors
    return Settings(
        way=contained.way,
        folder=str(Path(folder).resolve()),
        visible=_visible(python),
        python=str(python),
        runner=Path(__file__).with_name("runner.py").read_text(encoding="utf-8"),
        job=job,
        channel=channel,
        status=status,
        seconds=limits.seconds,
        memory=limits.memory,
        file_size=limits.file_size,
        scratch=limits.scratch,
        processes=limits.processes,
        open_files=limits.open_files,
    )


def _visible(python: Path) -> tuple[str, ...]:
    """What the interpreter needs of the file system: its own folders and the system's libraries."""
    system = [Path(name) for name in ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache")]
    own = [Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve(), python.parent]
    places = sorted({path for path in [*system, *own] if path.exists() and path != Path("/")})
    nested = [path for path in places if any(path != other and path.is_relative_to(other) for other in places)]
    return tuple(str(path) for path in places if path not in nested)


@contextmanager
def _launched(settings: Settings) -> Iterator[IO[bytes]]:
    """The output of a launcher in a session of its own, which is ended with all that is left of its group."""
    packages = str(Path(untrigger.__file__).parents[1])
    start = f"import sys; sys.path.append({packages!r}); from {Settings.__module__} import main; main()"
    with subprocess.Popen(
        [settings.python, "-I", "-S", "-c", start, json.dumps(asdict(settings))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        pass_fds=(settings.job, settings.channel, settings.status),
        start_new_session=True,
        bufsize=0,
    ) as process:
        assert process.stdout is not None  # asked for above
        try:
            yield process.stdout
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _read_all(
    room: Mapping[int, int], closable: Mapping[int, IO[bytes] | socket.socket], seconds: float
) -> dict[int, bytes]:
    """What each descriptor gives, up to its room; a full one is closed, which its writer notices."""
    heard = dict.fromkeys(room, b"")
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for line in room:
            selector.register(line, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                line = key.fd
                part = _part(line, room[line] - len(heard[line]))
                heard[line] += part
                if not part or len(heard[line]) == room[line]:
                    selector.unregister(line)
                    if line in closable:
                        closable[line].close()
    return heard


def _part(line: int, size: int) -> bytes:
    try:
        return os.read(line, size)
    except ConnectionResetError:  # a candidate that ended without taking the token
        return b""


def _refusal(contained: Containment) -> str | None:
    """Why this containment does not work here, None if it does."""
    harmless = Program("def one():\n    return 1\n", "def check(candidate):\n    assert candidate() == 1\n", "one")
    try:
        trial = run_candidate(harmless, contained)
    except UntriggerError as error:
        return error.why
    return None if trial.outcome == "passed" else f"a harmless program {trial.outcome}: {trial.detail}"


def _missing(reason: str) -> tuple[str, ...]:
    return (
        f"namespaces are not available here ({reason}): code of the model can reach the network, read every file"
        " that its user may read, write files outside its folder, and signal that user's processes",
    )
