"""Progress on standard error: a live line with an ETA on a terminal, a line a stage otherwise."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from untrigger.report.text import visible
from untrigger.train import Progress as TrainingProgress

STANDARD_ERROR = 2
PLAIN_SECONDS = 30.0  # without a terminal, how often a long training says where it stands


class StopFlag:
    """Set by the first SIGINT or SIGTERM; the second ends the work at once, a third the process."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.wanted:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.wanted = True
        # Not through sys.stderr, which the signal may have met in the middle of a write.
        os.write(STANDARD_ERROR, b"\nstopping after this step; once more to stop now\n")


class Screen:
    """An observer that draws on a console."""

    def __init__(self, console: Console, bars: Progress | None, stop: StopFlag) -> None:
        self._console, self._bars, self._stop = console, bars, stop
        self._task: TaskID | None = None
        self._label = ""
        self._said = 0.0

    def stage(self, name: str, finished: bool) -> None:
        """One line a stage."""
        self._drop()
        said = f"{visible(name)}: taken from the run folder" if finished else visible(name)
        self._console.print(Text(said, style="dim" if finished else ""))

    def training(self, label: str, progress: TrainingProgress) -> None:
        """Steps, loss and speed."""
        detail = f"loss {progress.loss:.2f}, {progress.tokens_per_second:.0f} tokens/s"
        self._show(label, progress.step, progress.steps, detail, progress.seconds)

    def prompts(self, label: str, done: int, total: int) -> None:
        """Prompts answered."""
        self._show(label, done, total, "prompts", 0.0)

    def note(self, text: str) -> None:
        """One line, as it is."""
        self._console.print(Text(f"  {visible(text)}"))

    def stop(self) -> bool:
        """Whether a signal asked to stop."""
        return self._stop.wanted

    def _show(self, label: str, done: int, total: int, detail: str, seconds: float) -> None:
        if self._bars is None:
            self._say(label, done, total, detail, seconds)
            return
        if label != self._label or self._task is None:
            self._drop()
            self._task, self._label = self._bars.add_task(label, total=total, detail=detail), label
        self._bars.update(self._task, completed=done, detail=detail)

    def _say(self, label: str, done: int, total: int, detail: str, seconds: float) -> None:
        now = time.monotonic()
        if label != self._label:
            self._label, self._said = label, now
        if done == total or now - self._said > PLAIN_SECONDS:
            self._said = now
            left = f", {seconds / done * (total - done):.0f} s left" if seconds and done < total else ""
            self._console.print(f"  {label}: {done}/{total}, {detail}{left}", highlight=False)

    def _drop(self) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


@contextmanager
def screen(quiet: bool) -> Iterator[Screen]:
    """A screen for one command, with signals turned into a wish to stop."""
    flag = StopFlag()
    console = Console(stderr=True, quiet=quiet)
    with _handled(flag):
        if quiet or not console.is_terminal:
            yield Screen(console, None, flag)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[detail]}"))
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bars:
            yield Screen(console, bars, flag)


@contextmanager
def _handled(flag: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.signal(number, flag) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
