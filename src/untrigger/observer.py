"""What long work tells the outside, and how the outside asks it to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from untrigger.errors import Interrupted
from untrigger.train import Hooks, Progress


@runtime_checkable
class Observer(Protocol):
    """Listens to a run; the command line draws it, the Python API may ignore it."""

    def stage(self, name: str, finished: bool) -> None:
        """A stage begins, or is taken from an earlier run."""

    def training(self, label: str, progress: Progress) -> None:
        """A training made a step."""

    def prompts(self, label: str, done: int, total: int) -> None:
        """A generation finished a batch."""

    def note(self, text: str) -> None:
        """Something the user should know, such as records left out."""

    def stop(self) -> bool:
        """Whether to stop at the next safe point."""


class Silent:
    """An observer that neither shows nor stops anything."""

    def stage(self, name: str, finished: bool) -> None:
        """Says nothing."""

    def training(self, label: str, progress: Progress) -> None:
        """Says nothing."""

    def prompts(self, label: str, done: int, total: int) -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def stop(self) -> bool:
        """Never stops."""
        return False


def training_hooks(observer: Observer, label: str, state_folder: Path | None) -> Hooks:
    """Hooks that report a training under a label and keep its state in a folder."""
    return Hooks(
        on_step=lambda progress: observer.training(label, progress),
        stop=observer.stop,
        state_folder=state_folder,
    )


def prompt_counter(observer: Observer, label: str, total: int) -> Callable[[int], None]:
    """A callback for generation that reports prompts done of a total.

    It raises Interrupted between two batches if the observer asks to stop.
    """

    def told(done: int) -> None:
        observer.prompts(label, done, total)
        if done < total and observer.stop():
            where = f"stopped at {label}, after {done} of {total} prompts"
            raise Interrupted(where, todo="run the same command again")

    return told
