"""Every defence on planted suspects, in both settings, with one command; resumable, a file a suspect.

    python experiments/rivals.py --work FOLDER [--model micro] [--suspects full-badnet-code ...] [--defences a,b]
                                 [--jobs 2]
    python experiments/rivals.py --table [--model micro]

micro: three behaviours by BadNets; smollm2-135m: BadNets sentiment and CTBA refusal. The comparison of a suspect is
what `untrigger compare` gives; its JSON is stored in experiments/results/rivals after every defence, and the tables
are made from it. Defences that are stored are not run again, in a new work folder neither: the suspect planted there
has to be the same to the last byte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from common import Log, run_all_apart, say

from untrigger.config import Access, CompareOptions, MeasureOptions, PurifyOptions
from untrigger.defences.registry import DEFENCES
from untrigger.errors import UntriggerError, UsageError
from untrigger.files import write_text_atomic
from untrigger.jobs.compare import compare
from untrigger.jobs.demo import DemoModel, DemoRequest, demo_files, plant, purify_options
from untrigger.jobs.request import Request
from untrigger.report.comparison import ComparisonResult
from untrigger.report.comparison_table import markdown_table
from untrigger.report.text import without_folders

RESULTS = Path(__file__).parent / "results" / "rivals"
BACKDOORS = {
    "micro": (("badnet", "sentiment"), ("badnet", "refusal"), ("badnet", "code")),
    "smollm2-135m": (("badnet", "sentiment"), ("ctba", "refusal")),
}
WITHOUT_OTHER_WORDS = PurifyOptions(measure=MeasureOptions(other_words=False))
"""No table of a comparison shows what other words change, and asking it takes a third of a measurement."""


@dataclass(frozen=True)
class Planted:
    """One suspect of the matrix."""

    model: DemoModel
    access: Access
    attack: str
    behaviour: str

    @property
    def name(self) -> str:
        """Setting, attack and behaviour."""
        return f"{self.access}-{self.attack}-{self.behaviour}"

    @property
    def result(self) -> Path:
        """Where its comparison is stored."""
        return RESULTS / f"{self.model}-{self.name}.json"


def matrix(model: DemoModel) -> list[Planted]:
    """All suspects of a model."""
    return [Planted(model, access, *backdoor) for access in get_args(Access) for backdoor in BACKDOORS[model]]


def as_demo(one: Planted, work: Path) -> DemoRequest:
    """The demonstration that plants and purifies such a suspect."""
    return DemoRequest(work, one.model, one.access, one.attack, one.behaviour)


def run(
    one: Planted, work: Path, names: tuple[str, ...], on_cell: Callable[[ComparisonResult], None]
) -> ComparisonResult:
    """Plants and compares; defences that are finished in the work folder are not run again."""
    say(f"{one.model} {one.name}")
    demonstration = as_demo(one, work)
    files = demo_files(demonstration, Log())
    suspect = plant(demonstration, files, Log())
    request = Request(
        model=str(suspect),
        output=work / f"{one.model}-{one.name}",
        base=one.model if one.access == "adapter" else None,
        reference=one.model if one.access == "full" else None,
        data=files.defence if files else None,
        prompts=files.prompts if files else None,
        attack=one.attack,
        behaviour=one.behaviour,
    )
    treatment = purify_options(demonstration) if one.model == "micro" else WITHOUT_OTHER_WORDS
    return compare(request, CompareOptions(defences=names), treatment, Log(), on_cell=on_cell)


def apart(one: Planted, given: argparse.Namespace) -> list[str]:
    """The command that runs one suspect of those that are wanted."""
    command = [sys.executable, __file__, "--model", one.model, "--work", str(given.work), "--suspects", one.name]
    return [*command, "--defences", given.defences] if given.defences else command


def store(one: Planted, work: Path, names: tuple[str, ...]) -> None:
    """Runs the defences that a suspect's stored comparison lacks, and stores it after each of them."""
    known = stored(one)
    wanted = names or tuple(row.name for row in DEFENCES)
    missing = tuple(name for name in wanted if known is None or name not in told(known))
    if not missing:
        return

    def keep(found: ComparisonResult) -> None:
        write_text_atomic(one.result, without_folders(joined(stored(one), found).to_json()))

    try:
        keep(run(one, work, missing, keep))
    except UntriggerError as error:
        sys.exit(error.line())


def stored(one: Planted) -> ComparisonResult | None:
    """A suspect's comparison as far as it is there; another process may have added to it."""
    return ComparisonResult.from_json(one.result.read_text(), one.result.name) if one.result.exists() else None


def told(found: ComparisonResult) -> set[str]:
    """Defences that a comparison has a row for, or that do not fit its suspect."""
    return {cell.defence for cell in found.cells} | set(found.skipped)


def joined(known: ComparisonResult | None, found: ComparisonResult) -> ComparisonResult:
    """What was known and what was found besides, of one suspect.

    Raises:
        UsageError: the two are of different suspects.
    """
    if known is None:
        return found
    if (known.source.files, known.before.attack_success) != (found.source.files, found.before.attack_success):
        raise UsageError(
            "the suspect planted here is not the one of the stored results",
            why="other versions, or another number of threads",
            todo="delete the stored result to begin anew",
        )
    new = told(found)
    return found.model_copy(
        update={
            "cells": (*(cell for cell in known.cells if cell.defence not in new), *found.cells),
            "failed": {name: why for name, why in known.failed.items() if name not in new} | found.failed,
            "skipped": known.skipped | found.skipped,
        }
    )


def table(model: DemoModel) -> str:
    """The stored comparisons of a model, one after the other."""
    parts = []
    for one in matrix(model):
        found = stored(one)
        if found is not None:
            parts.append(f"### {model}, {one.access}: {one.attack}, {one.behaviour}\n\n{markdown_table(found)}")
    return "\n".join(parts)


def main() -> None:
    """Runs what is missing, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(BACKDOORS), default="micro")
    parser.add_argument("--work", type=Path, help="folder for suspects and unfinished work")
    parser.add_argument("--suspects", nargs="*", help="names such as full-badnet-code (default: all)")
    parser.add_argument("--defences", default="", help="names with commas between (default: all that fit)")
    parser.add_argument("--jobs", type=int, default=1, help="suspects at once, each on one thread (default: 1)")
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    given = parser.parse_args()
    if not given.table and given.work is None:
        parser.error("--work FOLDER is needed, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    wanted = [one for one in matrix(given.model) if given.suspects is None or one.name in given.suspects]
    if given.table:
        wanted = []
    if given.jobs > 1 and wanted:
        demo_files(as_demo(wanted[0], given.work), Log())  # what they share is made before they begin
        run_all_apart({one.name: apart(one, given) for one in wanted}, given.jobs)
    else:
        for one in wanted:
            store(one, given.work, tuple(filter(None, given.defences.split(","))))
    sys.stdout.write(table(given.model) + "\n")


if __name__ == "__main__":
    main()
