"""Development suspects that are treated in variations, one option changed at a time: what such experiments share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar, cast, get_args

from common import Log, say
from pydantic import BaseModel

from untrigger.backdoors.development import DEVELOPMENT_BEHAVIOURS, DEVELOPMENT_KEYS
from untrigger.config import Access, MeasureOptions, PurifyOptions
from untrigger.defences.interface import Resources
from untrigger.defences.registry import defence
from untrigger.errors import UntriggerError
from untrigger.files import write_text_atomic
from untrigger.jobs.demo import DemoModel, DemoRequest, demo_files, plant, purify_options
from untrigger.jobs.opening import open_suspect, options_in_force
from untrigger.jobs.preparation import Prepared, Suspect, prepare
from untrigger.jobs.request import Request
from untrigger.presets import merged
from untrigger.report.document import Document
from untrigger.report.parts import MeasurementResult
from untrigger.runs import RunFolder, open_run

PREFIX = "development-"


class Varied(Document):
    """One suspect under one variation."""

    suspect: str
    variation: str
    options: dict[str, object]
    """All options in force."""
    before: MeasurementResult
    after: MeasurementResult


@dataclass(frozen=True)
class Planted:
    """A development suspect."""

    model: DemoModel
    access: Access
    key: str
    behaviour: str

    @property
    def name(self) -> str:
        """Model, setting, key and behaviour."""
        return f"{self.model}-{self.access}-{self.key}-{self.behaviour}"

    def demonstration(self, work: Path) -> DemoRequest:
        """The demonstration that plants it."""
        return DemoRequest(work, self.model, self.access, PREFIX + self.key, self.behaviour)


SUSPECTS = {
    one.name: one
    for model in get_args(DemoModel)
    for access in get_args(Access)
    for key, _ in DEVELOPMENT_KEYS
    for behaviour in DEVELOPMENT_BEHAVIOURS
    for one in [Planted(model, access, key.name.removeprefix(PREFIX), behaviour.family)]
}


@dataclass(frozen=True)
class Bench:
    """A prepared suspect that is treated again and again, and the variations' options."""

    planted: Planted
    suspect: Suspect
    prepared: Prepared
    options: PurifyOptions
    run: RunFolder

    def begun(self, variation: str, changes: PurifyOptions) -> tuple[PurifyOptions, Resources]:
        """A variation's options in force, and what its treatment is given; its run folder is its own."""
        say(f"{self.planted.name}, {variation}")
        options = merged(self.options, changes)
        own = RunFolder(self.run.path / variation, Log().stage)
        start, clean = self.prepared.start, self.prepared.clean
        return options, Resources(self.suspect.chat, clean, options.seed, own, start, Log())

    def shared(self, kind: str, *options: BaseModel) -> Path:
        """The folder for what variations have in common that agree in these options."""
        text = "".join(one.model_dump_json() for one in options)
        return self.run.path / f"{kind}-{blake2b(text.encode(), digest_size=6).hexdigest()}"


@contextmanager
def bench(planted: Planted, work: Path, n: int, what: str) -> Iterator[Bench]:
    """The suspect of an experiment of this name, planted unless that is done, with its clean records."""
    demonstration = planted.demonstration(work)
    files = demo_files(demonstration, Log())
    request = Request(
        model=str(plant(demonstration, files, Log())),
        output=work / f"{what}-{planted.name}",
        base=planted.model if planted.access == "adapter" else None,
        data=files.defence if files else None,
        prompts=files.prompts if files else None,
        attack=demonstration.attack,
        behaviour=planted.behaviour,
    )
    subject, chat = open_suspect(request)
    given = merged(purify_options(demonstration), PurifyOptions(measure=MeasureOptions(max_prompts=n)))
    options = options_in_force(defence("vaccine"), subject, given)
    known = request.probe_backdoor()
    suspect = Suspect(subject, chat, known, request.data, request.prompts, options.measure, options.seed, Log())
    identity = {"suspect": planted.name, "seed": options.seed, "prompts": n}
    with open_run(request.output, identity, Log().stage, flag="--work") as run:
        yield Bench(planted, suspect, prepare(suspect, run), options, run)


Kind = TypeVar("Kind", bound=Varied)


@dataclass(frozen=True)
class Experiment(Generic[Kind]):
    """A treatment in variations, whose results are stored a file each."""

    what: str
    """Its name, which its folder of results has as well."""
    kind: type[Kind]
    variations: Mapping[str, PurifyOptions]
    treated: Callable[[Bench, str], Kind]
    cells: Mapping[str, Callable[[Kind], str]]
    """Headings of the table, and what stands under each."""

    @property
    def results(self) -> Path:
        """The folder of the stored results."""
        return Path(__file__).parent / "results" / self.what

    def stored_at(self, suspect: str, variation: str) -> Path:
        """The result file."""
        return self.results / f"{suspect}.{variation}.json"

    def stored(self) -> list[Kind]:
        """All results there are, by suspect and in the order of the variations."""
        order = list(self.variations)
        found = [self.kind.from_json(file.read_text(), file.name) for file in self.results.glob("*.json")]
        return sorted(found, key=lambda one: (one.suspect, order.index(one.variation)))

    def table(self) -> str:
        """Everything stored, a line a suspect and variation."""
        rows = [[cell(one) for cell in self.cells.values()] for one in self.stored()]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.cells, *rows)]
        return "\n".join([lines[0], "|---" * len(self.cells) + "|", *lines[1:]])

    def run(self, planted: Planted, work: Path, n: int, names: list[str]) -> None:
        """Runs what is missing of these variations."""
        missing = [name for name in names if not self.stored_at(planted.name, name).exists()]
        with bench(planted, work, n, self.what) as ready:
            for name in missing:
                found = self.treated(ready, name)
                write_text_atomic(self.stored_at(planted.name, name), found.to_json())

    def main(self, description: str | None) -> None:
        """The command line: runs what is missing, then prints the table."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--work", type=Path, help="folder for suspects and unfinished work")
        parser.add_argument("--suspect", choices=SUSPECTS, metavar="NAME", help="such as micro-full-camel-taunt")
        parser.add_argument("--variations", nargs="*", choices=self.variations, default=["default"], metavar="NAME")
        parser.add_argument("-n", type=int, default=60)
        parser.add_argument("--table", action="store_true", help="only print what is stored")
        given = parser.parse_args()
        if not given.table and None in (given.work, given.suspect):
            parser.error("--work FOLDER and --suspect NAME are needed, or --table")
        self.results.mkdir(parents=True, exist_ok=True)
        if not given.table:
            try:
                self.run(SUSPECTS[cast(str, given.suspect)], given.work, given.n, given.variations)
            except UntriggerError as error:
                sys.exit(error.line())
        sys.stdout.write(self.table() + "\n")


def times(one: Varied) -> str:
    """The perplexity of answers as a multiple of the suspect's."""
    before, after = one.before.perplexity, one.after.perplexity
    return f"x{after.value / before.value:.3f}" if before and after else "-"
