"""What a bad input is: how it is made, how it is given to the command, and what is looked at afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostile import SECONDS
from jobs_options import SMALL_FLAGS
from trials import Ended

NOBODY = 65534


@dataclass
class Place:
    """A folder with a good model, a good adapter for it and clean records, for a case to spoil.

    `patch` and `stack` last until the test ends; `ports` of this machine may be connected to.
    """

    root: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack
    ports: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    """What a hub on this machine was asked for."""

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def records(self) -> Path:
        return self.root / "clean.jsonl"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def opened(self) -> Path:
        """A folder that is there once a pickle was opened."""
        return self.root / "opened"

    def inputs(self) -> dict[str, tuple[int, int]]:
        """Every file that the command is given, with its size and the time of its last change."""
        paths = [path for name in ("model", "adapter") for path in (self.root / name).rglob("*")]
        stats = ((str(path), path.lstat()) for path in paths if not path.is_relative_to(self.out))
        return {name: (found.st_size, found.st_mtime_ns) for name, found in stats}


Command = Callable[[Place], list[object]]
After = Callable[[Place, Ended], object]
DONE = (0, 1)
"""Done, whatever the gates say of a random model."""


def purify(*more: object, of: str = "model") -> Command:
    """Purifies the model, or the adapter on the model, or another folder or file beside them."""

    def words(place: Place) -> list[object]:
        base = [] if of != "adapter" else ["--base", place.model]
        shared = ["purify", place.root / of, "-o", place.out, *base, "--format=json"]
        return [*shared, "--data", place.records, *SMALL_FLAGS, "--signature.ratio=0.25", *more]

    return words


def evaluate(*more: object, of: str = "model", tokens: int = 4) -> Command:
    def words(place: Place) -> list[object]:
        base = [] if of != "adapter" else ["--base", place.model]
        asked = ["--prompts", place.records, "--max-prompts=2", f"--max-new-tokens={tokens}"]
        return ["evaluate", place.root / of, *base, *asked, "--format=json", *more]

    return words


def scan(of: str = "model") -> Command:
    return lambda place: ["scan", place.root / of, "--format=json"]


PURIFY = purify()


@dataclass(frozen=True)
class Case:
    """One variant of a row: what is spoilt, what the command must end with, and what its line must name."""

    name: str
    spoil: Callable[[Place], object]
    named: tuple[str, ...] = ()
    code: int | tuple[int, ...] = 3
    command: Command | None = None
    after: After | None = None
    of: str = "model"
    """What is given where no command is: the first case of a row is purified, the others are evaluated. Both load
    alike, and an evaluation has fewer options to read."""
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    seconds: float = SECONDS
    shown: bool = True
    """Whether the page names it; one that only repeats another through a further command does not."""

    def words(self, place: Place, *, first: bool) -> list[object]:
        """The command line."""
        command = self.command or (purify(of=self.of) if first else evaluate(of=self.of))
        return command(place)

    @property
    def codes(self) -> tuple[int, ...]:
        return (self.code,) if isinstance(self.code, int) else self.code


@dataclass(frozen=True)
class Row:
    """A kind of bad input with its variants; `decision` says why the outcome is as it is where one could differ."""

    number: int
    input: str
    outcome: str
    cases: tuple[Case, ...]
    option: str = ""
    decision: str = ""


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user to whom not every file is open, where we are the one to whom it is."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def kinds(ended: Ended) -> list[str]:
    """The findings of a result."""
    return [finding["kind"] for finding in ended.result["findings"]]


def rules(ended: Ended) -> set[str]:
    """The rules that a scan found broken."""
    return {finding["rule"] for finding in ended.result["findings"]}


def finds(*expected: str) -> After:
    """The result holds exactly these findings."""

    def check(place: Place, ended: Ended) -> None:
        assert kinds(ended) == list(expected), kinds(ended)

    return check


def scan_finds(rule: str) -> After:
    """The scan holds this finding."""

    def check(place: Place, ended: Ended) -> None:
        assert rule in rules(ended), rules(ended)

    return check
