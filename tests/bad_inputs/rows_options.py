"""Rows 43 and 44: options beyond their bounds, and places that may not be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cases import DONE, Case, Command, Ended, Place, Row, as_nobody, evaluate, purify

from untrigger.jobs import attack as attack_module
from untrigger.jobs import opening as opening_module

OPTIONS = {
    "a ratio of 0": "--signature.ratio=0",
    "a ratio of 1": "--signature.ratio=1",
    "a ratio of 1.5": "--signature.ratio=1.5",
    "a ratio that is NaN": "--signature.ratio=nan",
    "no pairs": "--variants.pairs=0",
    "one pair": "--variants.pairs=1",
    "a negative weight of the alignment": "--signature.alignment-weight=-1",
    "a learning rate of 1,000": "--variants.train.learning-rate=1000",
    "a negative number of heads": "--signature.heads=-1",
    "no epochs": "--repair.train.epochs=0",
    "no update left": "--suppress.remainder=0",
    "a negative number of prompts": "--measure.max-prompts=-3",
}


def untouched(place: Place) -> None:
    """The files are good ones."""


def no_work(place: Place) -> None:
    """A model that is loaded fails the case."""

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("the model was loaded")

    for module in (opening_module, attack_module):
        place.patch.setattr(module, "load", load)


def option_of(flag: str) -> str:
    return flag.partition("=")[0]


def flags(*more: str) -> Command:
    """The options alone, since a flag may not stand twice."""
    return lambda place: ["purify", place.model, "-o", place.out, "--format=json", *more]


def to(where: str, *, job: str = "purify") -> Command:
    """Writes to a path beside the model, or below it."""
    return lambda place: [job, place.model, "-o", place.root / where, "--format=json"]


def linked(place: Place) -> None:
    no_work(place)
    (place.root / "link").symlink_to(place.model)


def filled(place: Place) -> None:
    no_work(place)
    (place.root / "full").mkdir()
    (place.root / "full" / "file").write_text("mine")


def file_in_the_way(place: Place) -> None:
    no_work(place)
    (place.root / "file").write_text("mine")


def read_only(place: Place) -> None:
    no_work(place)
    (place.root / "closed").mkdir()
    (place.root / "closed").chmod(0o555)


def no_entry(place: Place) -> None:
    no_work(place)
    (place.root / "closed").mkdir()
    (place.root / "closed").chmod(0o500 if os.geteuid() == 0 else 0)


def linked_to_itself(place: Place) -> None:
    no_work(place)
    (place.root / "loop").symlink_to("loop")


def purified_before(place: Place) -> None:
    no_work(place)
    (place.model / "COMPLETE").write_text("{}")


def run_in_the_input(place: Place) -> list[object]:
    return [*purify()(place), "--run", place.model / "run"]


def inside_the_base(place: Place) -> list[object]:
    return ["purify", place.adapter, "--base", place.model, "-o", place.model / "out", "--format=json"]


def other_file_system(place: Place) -> None:
    """`elsewhere` leads to memory that is mounted as a folder, where there is such."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == place.root.stat().st_dev:
        pytest.skip("no second file system here")
    folder = place.stack.enter_context(TemporaryDirectory(dir=memory))
    (place.root / "elsewhere").symlink_to(folder)


def over_there(place: Place) -> list[object]:
    return [place.root / "elsewhere" / "out" if word == place.out else word for word in purify()(place)]


def is_there(place: Place, ended: Ended) -> None:
    folder = place.root / "elsewhere"
    assert (folder / "out" / "COMPLETE").is_file() and [path.name for path in folder.iterdir()] == ["out"]


INSIDE = "lies inside the input"


def inside(job: str, *more: str) -> Command:
    return lambda place: [job, place.model, "-o", place.model / "out", "--format=json", *more]


KEY = ("--attack=badnet", "--behaviour=sentiment")
WRITING: dict[str, Command] = {
    "compare": inside("compare", *KEY, "--no-figure"),
    "humaneval": inside("humaneval", "--allow-code-execution"),
    "mt-bench": inside("mt-bench"),
    "utility": inside("utility"),
    "analyse": lambda place: [*inside("analyse", *KEY)(place), "--base", place.model],
    "scan": inside("scan"),
    "the rows of evaluate": lambda place: [*evaluate()(place), "--rows", place.model / "config.json"],
}
"""Every other command that writes."""
PLACES: dict[str, tuple[Callable[[Place], None], str, str]] = {
    "the input itself": (no_work, "model", "model"),
    "a link to the input": (linked, "link", "is the input itself"),
    "inside the input": (no_work, "model/clean", INSIDE),
    "deep inside the input": (no_work, "model/a/b", INSIDE),
    "inside the input, through a link": (linked, "link/clean", INSIDE),
    "inside the input, by a detour": (no_work, "model/../model/x", INSIDE),
    "a folder that holds files": (filled, "full", "exists already"),
    "a link to itself": (linked_to_itself, "loop", "loop"),
    "below a file": (file_in_the_way, "file/out", "is no folder"),
}

ROWS = (
    Row(
        43,
        "Options beyond their bounds",
        "Refused with the name of the option before any work; a number of heads, once the model is known.",
        (
            *(Case(name, no_work, (option_of(flag),), 4, flags(flag)) for name, flag in OPTIONS.items()),
            Case(
                "one pair, by norm alone",
                no_work,
                ("pairs",),
                4,
                flags("--variants.pairs=1", "--defence=norm-only"),
                shown=False,
            ),
            Case(
                "more heads than there are",
                untouched,
                ("heads is 99", "only 8"),
                4,
                purify("--signature.heads=99"),
            ),
        ),
        decision="One pair would do where channels are scored by their norm alone; one is too few to tell, so"
        " two are the fewest everywhere.",
    ),
    Row(
        44,
        "An output that would change the input, or that cannot be written",
        "Refused before a model is loaded. Another file system is no fault.",
        (
            *(Case(name, spoil, (named,), 4, to(where)) for name, (spoil, where, named) in PLACES.items()),
            *(
                Case(f"attack, {name}", spoil, (named,), 4, to(where, job="attack"), shown=False)
                for name, (spoil, where, named) in PLACES.items()
            ),
            Case("a run folder inside the input", no_work, ("the run folder", INSIDE), 4, run_in_the_input),
            Case("inside an adapter's base", no_work, (INSIDE,), 4, inside_the_base),
            Case("the input, purified already", purified_before, ("is the input itself",), 4, to("model")),
            Case(
                "a read-only folder",
                read_only,
                ("closed/out cannot be written", "is read-only"),
                4,
                to("closed/out"),
                within=as_nobody,
            ),
            Case(
                "a folder that may not be entered",
                no_entry,
                ("closed/out cannot be written", "is read-only"),
                4,
                to("closed/out"),
                within=as_nobody,
            ),
            *(
                Case(f"{name}, inside the input", no_work, (INSIDE,), 4, command, shown=False)
                for name, command in WRITING.items()
            ),
            Case("another file system", other_file_system, (), DONE, over_there, is_there),
        ),
        decision="The output is built beside its own place, so the input's file system does not matter.",
    ),
)
