"""Starts the child that runs lm-eval, listens to it, and ends it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import Empty, SimpleQueue

from pydantic import ValidationError

from untrigger.errors import InputRefused, Interrupted, OutOfMemory, UntriggerError, UsageError
from untrigger.evaluation.utility.messages import EVENT, Asked, Failed, Order
from untrigger.observer import Observer

PROGRAM = (sys.executable, "-m", "untrigger.evaluation.utility.child")
VERSION = "0.4.13"
"""The version of lm-eval that the task table was made from and that the child's calls are known to fit."""
LOG, ORDER = "evaluation.log", "order.json"
_LAST_LINES, _LINE_LENGTH = 4, 160
_LISTEN_SECONDS, _PATIENCE_SECONDS = 0.2, 5.0
_SILENCE_SECONDS = 3600.0
"""A child that says nothing for so long hangs: it tells of every answered item, and else loads models and data."""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
_ERRORS: Mapping[str, type[UntriggerError]] = {
    kind.error_code: kind for kind in (UntriggerError, InputRefused, UsageError, OutOfMemory)
}


class Hung(UntriggerError):
    """A child that said nothing for too long, and was ended."""


class Killed(OutOfMemory):
    """A child that was killed, most likely by a system that ran out of memory."""


def require_harness() -> str:
    """The installed version of lm-eval, which is looked up, not imported.

    Raises:
        UntriggerError: not installed, or another version than the one that is known to fit.
    """
    todo = "pip install 'untrigger[eval]'"
    try:
        found = version("lm-eval")
    except PackageNotFoundError as error:
        raise UntriggerError("the benchmarks need lm-eval, which is not installed", todo=todo) from error
    if found != VERSION:
        raise UntriggerError(f"lm-eval {found} is installed, {VERSION} is needed", todo=todo)
    return found


class Child:
    """A running evaluation. Create it through `evaluation`, which ends it."""

    def __init__(self, process: subprocess.Popen[bytes], order: Order, log: Path, observer: Observer) -> None:
        self._process, self._order, self._log, self._observer = process, order, log, observer
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Ends the process, with SIGKILL if need be, and closes its pipes."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_SECONDS)
        self._reader.join(_PATIENCE_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def deliver(self, task: str, label: str, destination: Path) -> None:
        """Waits for a task and moves its files to a folder; the observer is told of the items answered.

        Raises:
            Interrupted: the observer asked to stop.
            Killed, Hung: the child was killed, or hung and was ended.
            UntriggerError: the child failed; an error of ours is raised as its own kind.
        """
        folder = self._order.inbox / task
        heard = time.monotonic()
        while not folder.is_dir():
            if self._observer.stop():
                raise Interrupted(f"stopped at {task}; finished tasks are kept", todo="run the same command again")
            with suppress(Empty):
                self._heard(self._lines.get(timeout=_LISTEN_SECONDS), task, label)
                heard = time.monotonic()
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise self._hanging(task)
            if self._over.is_set() and self._lines.empty() and not folder.is_dir():
                raise self._ended(task)
        for file in folder.iterdir():
            shutil.move(file, destination / file.name)
        folder.rmdir()

    def _heard(self, line: bytes, task: str, label: str) -> None:
        try:
            event = EVENT.validate_json(line)
        except ValidationError as error:
            raise UntriggerError(f"the evaluation process said what no event is: {line[:200]!r}") from error
        match event:
            case Asked(task=name, done=done, total=total) if name == task:
                self._observer.prompts(label, done, total)
            case Failed(error_code=code, what=what, why=why, todo=todo):
                raise _ERRORS.get(code, UntriggerError)(what, why=why, todo=todo)
            case _:
                pass  # a finished task is seen by its folder

    def _hanging(self, task: str) -> Hung:
        return Hung(
            f"the evaluation process hangs at {task} and was ended: no word in {_SILENCE_SECONDS:g} seconds",
            why=f"its last lines: {last_lines(self._log)}",
            todo=f"run the same command again; finished tasks are kept; the log is {self._log}",
        )

    def _ended(self, task: str) -> UntriggerError:
        code = self._process.wait()
        why = f"its last lines: {last_lines(self._log)}"
        kept = f"finished tasks are kept; the log is {self._log}"
        if code == -signal.SIGKILL:
            what = f"the evaluation process was killed at {task}, as happens when memory runs out"
            return Killed(what, why=why, todo=f"use a smaller --batch-size; {kept}")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return UntriggerError(f"the evaluation process {how} at {task}", why=why, todo=kept)

    def _read(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    self._lines.put(line)
        self._over.set()


@contextmanager
def evaluation(order: Order, folder: Path, observer: Observer, program: Sequence[str] = PROGRAM) -> Iterator[Child]:
    """A child at work on the order; its log and its order lie in the folder. It is ended in the end.

    Its data cache is a temporary folder, and it has no network unless the benchmarks come from the hub.
    """
    shutil.rmtree(order.inbox, ignore_errors=True)
    order.inbox.mkdir(parents=True)
    (folder / ORDER).write_text(order.model_dump_json(indent=1), encoding="utf-8")
    with tempfile.TemporaryDirectory() as cache, (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [*program, str((folder / ORDER).absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=cache,
            env=child_environment(os.environ, Path(cache), online=order.data is None),
            start_new_session=True,  # Ctrl-C reaches us alone; we end the child
        )
        child = Child(process, order, folder / LOG, observer)
        try:
            yield child
        finally:
            child.end()
    shutil.rmtree(order.inbox, ignore_errors=True)


def child_environment(ours: Mapping[str, str], cache: Path, online: bool) -> dict[str, str]:
    """Our environment without network for data and models, unless online, and with a cache of its own."""
    paths = [str(Path(path).absolute()) for path in ours.get("PYTHONPATH", "").split(os.pathsep) if path]
    moved = {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}  # the child works in another folder
    return {**ours, **moved, **({} if online else _OFFLINE), "HF_DATASETS_CACHE": str(cache)}


def last_lines(log: Path) -> str:
    """The end of a log on one line, without progress bars; "none" if there is nothing else."""
    lines = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace"))
    kept = [line.strip()[:_LINE_LENGTH] for line in lines if line.strip() and "%|" not in line]
    return " | ".join(kept[-_LAST_LINES:]) or "none"
