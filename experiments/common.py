"""What the experiments share: what they say while they work, and several of them at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from untrigger.observer import Silent
from untrigger.train import Progress

SECONDS = 60.0
LONGEST_HOURS = 48.0
"""A process that runs longer counts as hanging."""


class Log(Silent):
    """Stages as they begin, and where a training stands once a minute."""

    def __init__(self) -> None:
        self.said = 0.0

    def stage(self, name: str, finished: bool) -> None:
        """The stage's name, unless it is there already."""
        if not finished:
            say(f"  {name}")

    def training(self, label: str, progress: Progress) -> None:
        """A line a minute."""
        if progress.step == 1:
            self.said = 0.0
        if progress.seconds - self.said > SECONDS or progress.step in (1, progress.steps):
            self.said = progress.seconds
            say(f"    {label} {progress.step}/{progress.steps}, loss {progress.loss:.2f}, {progress.seconds:.0f} s")

    def note(self, text: str) -> None:
        """The note."""
        say(f"  {text}")


def say(text: str) -> None:
    """A line on standard error, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def run_all_apart(commands: Mapping[str, Sequence[str]], jobs: int) -> None:
    """Several programs at once, by name; one that fails stops no other, but the exit status says so."""
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda name: run_apart(name, commands[name]), commands))
    missing = [name for name, well in zip(commands, done, strict=True) if not well]
    if missing:
        sys.exit(f"not finished: {', '.join(missing)}")


def run_apart(name: str, command: Sequence[str]) -> bool:
    """A program on one thread: two threads gain less on a small model than two programs.

    A program that hangs or is killed is started once more, and goes on where it was.
    """
    for _ in range(2):
        code = ended(command)
        if code is not None and code >= 0:
            return code == 0
        say(f"{name}: its process {'hung' if code is None else f'was ended by signal {-code}'}")
    return False


def ended(command: Sequence[str], hours: float = LONGEST_HOURS) -> int | None:
    """A program's exit code; None if it ran longer, and was ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False, timeout=3600 * hours)
    except subprocess.TimeoutExpired:
        return None
    return done.returncode
