"""Fuzzes one target until its time is up, in a process of its own that run.py starts.

What a parser must not raise is saved and counted, and the fuzzing goes on; a process that hangs or is ended is begun
again by run.py. What was done is kept in CRASHES/NAME.json.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "fuzz")]

with atheris.instrument_imports(include=["untrigger", "jinja2.lexer", "jinja2.parser"]):
    from mutation import mutate
    from targets import TARGETS, Read
    from untrigger.errors import UntriggerError

SECONDS_AN_INPUT = 5.0
MEMORY_AN_INPUT = 2**30
HANGING = 60  # a process that libFuzzer ends, in seconds of a clock that other work slows down
SAVED_EVERY = 2.0


@dataclass
class Account:
    """What was done so far."""

    executions: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    crashes: dict[str, int] = field(default_factory=dict)
    """Name of a saved input -> how often the same was met."""
    slowest_seconds: float = 0.0
    slowest_input: str = ""
    peak_bytes: int = 0


def fuzz(name: str, corpus: Path, crashes: Path, seconds: int) -> None:
    """Runs libFuzzer, which ends the process; inputs are kept in `corpus`, what was found in `crashes`."""
    target = TARGETS[name]
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    prepared = target.prepare(work)
    for seed in prepared.seeds:
        prepared.read(seed)
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    trial = Trial(prepared.read, crashes, crashes.with_suffix(".json"))

    def changed(data: bytes, longest: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, longest))
        return mutate(data, target.form, random.Random(seed))[:longest]

    options = [f"-max_total_time={seconds}", f"-timeout={HANGING}", "-rss_limit_mb=0", "-max_len=200000"]
    options += [f"-artifact_prefix={crashes}/", "-print_final_stats=1", "-detect_leaks=0"]
    atheris.Setup([name, *options, str(corpus)], trial, custom_mutator=changed)
    _limit_memory()
    atheris.Fuzz()


def _limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_AN_INPUT, resource.RLIM_INFINITY))


class Trial:
    """Gives the parser one input after the other and keeps the account."""

    def __init__(self, read: Read, crashes: Path, file: Path) -> None:
        self._read, self._crashes, self._file = read, crashes, file
        self._account = Account(**json.loads(file.read_text())) if file.exists() else Account()
        self._saved = time.monotonic()
        self._at_first = _peak()

    def __call__(self, data: bytes) -> None:
        """One input."""
        began = time.process_time()
        try:
            self._read(data)
        except UntriggerError as error:
            if not error.line().isprintable():
                self._save(data, "unprintable message")
        except Exception as error:  # noqa: BLE001 - whatever is no kind of ours is what is looked for
            frames = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if "/untrigger/" in frame.filename] or frames
            self._save(data, f"{type(error).__name__}-{Path(own[-1].filename).stem}-{own[-1].name}", error)
        self._count(data, time.process_time() - began)

    def _count(self, data: bytes, seconds: float) -> None:
        account = self._account
        account.executions += 1
        account.processor_seconds += seconds
        if seconds > account.slowest_seconds:
            account.slowest_seconds = seconds
            account.slowest_input = hashlib.sha256(data).hexdigest()[:16]
            (self._crashes / "slowest").write_bytes(data)
        if seconds > SECONDS_AN_INPUT:
            self._save(data, "too-slow")
        account.peak_bytes = max(account.peak_bytes, _peak() - self._at_first)
        now = time.monotonic()
        if now - self._saved > SAVED_EVERY:
            account.seconds += now - self._saved
            self._saved = now
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(account), indent=1))
            fresh.rename(self._file)

    def _save(self, data: bytes, kind: str, error: Exception | None = None) -> None:
        self._account.crashes[kind] = self._account.crashes.get(kind, 0) + 1
        if self._account.crashes[kind] == 1:
            (self._crashes / kind).write_bytes(data)
            if error is not None:
                text = "".join(traceback.format_exception(error))
                (self._crashes / f"{kind}.txt").write_text(text, encoding="utf-8", errors="replace")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
