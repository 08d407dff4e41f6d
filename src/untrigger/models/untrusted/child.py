"""Runs one function of ours on hostile input in a child process with limits; the answer comes back as JSON.

The parent starts `main` in an isolated interpreter. Limits on memory and processor time count from the moment the
function's own imports are done, so that they bound what the input costs and not what a library costs.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from untrigger.errors import InputRefused

Json = dict[str, object]
Task = Callable[[Json], Json]

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "OMP_NUM_THREADS")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "RUST_BACKTRACE": "0"}
# Events of Python's audit table with which a process reaches the network or starts another program.
_FORBIDDEN = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"),
)
_ANSWER_CHARACTERS = 500
_START = f"import sys; sys.path[:] = {{path!r}}; from {__name__} import main; main()"


@dataclass(frozen=True)
class Limits:
    """What the function may use beyond its imports: seconds, and bytes of address space."""

    cpu_seconds: int = 1
    wall_seconds: float = 60.0  # of a machine that is busy with other work
    memory: int = 512 * 2**20
    writes: bool = False


def run_limited(task: Task, argument: Json, where: str, limits: Limits | None = None) -> Json:
    """The function's answer, from a process of its own.

    Args:
        task: a function at the top of a module, whose import is quick.
        argument: what it is given, as JSON.
        where: the file and the part of it that are looked at, for messages.
        limits: what it may use.

    A child that is killed from outside, or hangs, is started once more.

    Raises:
        InputRefused: it took too long or too much memory, ended early, or raised.
    """
    limits = limits or Limits()
    order = json.dumps(
        {"module": task.__module__, "name": task.__name__, "argument": argument, "limits": asdict(limits)}
    )
    ended = _run(order, limits)
    if ended.lost:  # its limits on the processor and on memory end it otherwise, so the input need not be the reason
        ended = _run(order, limits)
    return _answer(ended, where, limits)


@dataclass(frozen=True)
class _Ended:
    """What a child said, and its exit code: None if it hung, negative for a signal."""

    said: bytes
    code: int | None

    @property
    def lost(self) -> bool:
        """Whether it hung without using the processor or was killed from outside, as happens on a busy machine."""
        return self.code in (None, -signal.SIGKILL)


def _run(order: str, limits: Limits) -> _Ended:
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _START.format(path=[entry for entry in sys.path if entry])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _OFFLINE,
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child
    ) as process:
        try:
            said, _ = process.communicate(order.encode(), timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            return _Ended(b"", None)
        finally:
            process.kill()
    return _Ended(said, process.returncode)


def main() -> None:
    """The child: reads an order from standard input and writes the answer to what was standard output."""
    order = json.load(sys.stdin)
    channel = os.dup(1)
    os.dup2(2, 1)
    sys.excepthook = _teller(channel)
    task: Task = getattr(importlib.import_module(order["module"]), order["name"])
    _limit(Limits(**order["limits"]))
    sys.addaudithook(_forbid)
    _tell(channel, {"answer": task(order["argument"])})


def _answer(ended: _Ended, where: str, limits: Limits) -> Json:
    if ended.code is None:
        raise InputRefused(f"{where} takes too long", why=f"more than {limits.wall_seconds:g} seconds, twice")
    try:
        told = json.loads(ended.said)
    except ValueError:
        told = {}
    if isinstance(told.get("answer"), dict):
        answer: Json = told["answer"]
        return answer
    if "failed" in told:
        raise InputRefused(f"{where} fails", why=str(told["failed"]), todo="take the file from a source you trust")
    if ended.code == -signal.SIGXCPU:
        why = f"more than {limits.cpu_seconds} seconds of a processor"
        raise InputRefused(f"{where} takes too long", why=why)
    how = f"signal {-ended.code}" if ended.code < 0 else f"code {ended.code}"
    raise InputRefused(f"{where} ended the process that looked at it", why=f"{how}; its memory is limited")


def _teller(channel: int) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        said = error.line() if isinstance(error, InputRefused) else f"{kind.__name__}: {error}"
        _tell(channel, {"failed": said[:_ANSWER_CHARACTERS]})

    return tell


def _tell(channel: int, value: Json) -> NoReturn:
    with os.fdopen(channel, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    os._exit(0)


def _limit(limits: Limits) -> None:
    seconds = math.ceil(time.process_time()) + limits.cpu_seconds
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, seconds)
    if not limits.writes:
        _lower(resource.RLIMIT_FSIZE, 0)
    if sys.platform == "linux":  # elsewhere the address space in use cannot be read, and the limit is not kept
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _forbid(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not allowed while hostile input is read")
