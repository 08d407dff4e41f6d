"""How well does the survival of canaries foretell that of the backdoor nobody knows?

    python experiments/calibration.py --work FOLDER [--suspects full-badnet-code ...]
    python experiments/calibration.py --table [--figure docs/calibration.svg]

Canaries are planted in a copy of each micro suspect of experiments/rivals.py. The copy and the suspect are treated
alike in many ways, from far too weak to the default, and the canaries of the one and the backdoor of the other are
asked. A point a treatment goes to experiments/results/calibration; finished points are not made again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from rivals import Log, Planted, as_demo, matrix, say

from untrigger.analysis.anatomy import spearman
from untrigger.config import PurifyOptions, RepairOptions, TitrationOptions, TrainOptions
from untrigger.defences.interface import Resources
from untrigger.defences.registry import defence
from untrigger.defences.titration import Titration
from untrigger.defences.vaccine import signature_stage
from untrigger.errors import UntriggerError
from untrigger.evaluation.attack_success import tally
from untrigger.evaluation.measure import Asking, keyed_prompts
from untrigger.files import write_text_atomic
from untrigger.jobs.demo import demo_files, plant, purify_options
from untrigger.jobs.opening import open_suspect, options_in_force
from untrigger.jobs.preparation import Prepared, Suspect, prepare
from untrigger.jobs.request import Request
from untrigger.models.state import restore_weights
from untrigger.presets import merged
from untrigger.report.document import Document, parsed
from untrigger.report.drawing import svg_text
from untrigger.report.parts import EnvironmentResult, Part, RateResult
from untrigger.report.summary import environment_result
from untrigger.report.text import rate_text
from untrigger.runs import RunFolder, open_run
from untrigger.signature.select import ScoreTable
from untrigger.signature.store import load_scores
from untrigger.titration import Strength

RESULTS = Path(__file__).parent / "results" / "calibration"
RATIOS = (0.02, 0.1, 0.3)
REPAIRS = ("suppression alone", "clean repair", "gentle vaccine", "vaccine")
POINT = "point.json"


class Point(Part):
    """One treatment of the copy."""

    ratio: float
    repair: str
    canaries: RateResult
    real: RateResult
    perplexity_ratio: float


class Calibration(Document):
    """All treatments of one suspect."""

    suspect: str
    canaries: tuple[str, ...]
    planted: RateResult
    """The canaries before any treatment."""
    real: RateResult
    """The backdoor of the suspect before any treatment."""
    overwritten: RateResult
    """The suspect's backdoor in the copy, once the canaries are planted: planting is a treatment too."""
    points: tuple[Point, ...] = Field(min_length=1)
    environment: EnvironmentResult


@dataclass(frozen=True)
class Copy:
    """A suspect's copy with canaries, and the prompts that hold the real key."""

    titration: Titration
    suspect: Suspect
    prepared: Prepared
    start: Path
    table: ScoreTable

    def real(self) -> RateResult:
        """Attack success of the real backdoor on the subject as it stands."""
        known = self.suspect
        assert known.backdoor is not None
        asking = Asking(known.subject, known.chat, known.backdoor.behaviour, known.measure, known.observer)
        return RateResult.of(tally(asking.verdicts(keyed_prompts(self.prepared.probe), "real", cut=True)))

    def point(self, ratio: float, repair: str) -> Callable[[Path], int]:
        """Builds the stage of one treatment."""

        def build(work: Path) -> int:
            own = self.titration
            options = Strength(ratio).applied(merged(own.options, PurifyOptions(repair=repair_options(own, repair))))
            repaired, scratch = repair != "suppression alone", work / "scratch"
            own.treat(self.prepared.start, self.table, options, RunFolder(scratch / "suspect"), repair=repaired)
            real = self.real()
            restore_weights(own.subject, self.start)
            before = own.perplexity()
            run = RunFolder(scratch / "copy")
            own.treat(self.start, self.table, options, run, repair=repaired)
            point = Point(
                ratio=ratio,
                repair=repair,
                canaries=RateResult.of(own.survival(repair)),
                real=real,
                perplexity_ratio=own.perplexity() / before,
            )
            say(f"  ratio {ratio:g}, {repair}: canaries {point.canaries.value:.0%}, real {point.real.value:.0%}")
            (work / POINT).write_text(point.model_dump_json(indent=1))
            return sum(stage.tokens for stage in run.costs())

        return build


def repair_options(titration: Titration, name: str) -> RepairOptions:
    """The repair of this name: the setting's own, the same at a fifth of its rates, or clean records alone."""
    own = titration.options.repair
    if name == "clean repair":
        return RepairOptions(inject=False, key_bearing=False)
    if name == "gentle vaccine":
        return RepairOptions(inject_train=slower(own.inject_train), train=slower(own.train))
    return RepairOptions()


def slower(options: TrainOptions) -> TrainOptions:
    """A fifth of the rate."""
    return TrainOptions(learning_rate=options.learning_rate / 5)


def treatment(one: Planted, work: Path) -> PurifyOptions:
    """The micro demonstration's options, with canaries that the micro model learns."""
    rate = 5e-3 if one.access == "adapter" else 1e-3
    canaries = TitrationOptions(
        canaries=4, records=96, train=TrainOptions(learning_rate=rate, epochs=4, batch_size=8)
    )
    return merged(purify_options(as_demo(one, work)), PurifyOptions(titration=canaries))


def calibrated(one: Planted, work: Path) -> Calibration:
    """Plants, treats and asks; what is finished is not done again."""
    say(one.name)
    demonstration = as_demo(one, work)
    files = demo_files(demonstration, Log())
    assert files is not None
    request = Request(
        model=str(plant(demonstration, files, Log())),
        output=work / f"calibration-{one.name}",
        base=one.model if one.access == "adapter" else None,
        data=files.defence,
        prompts=files.prompts,
        attack=one.attack,
        behaviour=one.behaviour,
    )
    subject, chat = open_suspect(request)
    options = options_in_force(defence("vaccine"), subject, treatment(one, work))
    known = request.probe_backdoor()
    suspect = Suspect(subject, chat, known, request.data, request.prompts, options.measure, options.seed, Log())
    identity = {"suspect": one.name, "options": options.model_dump(mode="json")}
    with open_run(request.output, identity, Log().stage, flag="--work") as run:
        prepared = prepare(suspect, run)
        resources = Resources(chat, prepared.clean, options.seed, run, prepared.start, Log())
        titration = Titration.of(subject, resources, options)
        table = load_scores(signature_stage(subject, titration.resources, titration.options))
        start = titration.planted()
        planted = titration.planted_rate(start)
        copy = Copy(titration, suspect, prepared, start, table)
        restore_weights(subject, prepared.start)
        real = copy.real()
        restore_weights(subject, start)
        overwritten = copy.real()
        points = []
        for ratio in RATIOS:
            for repair in REPAIRS:
                folder = run.stage(f"{repair.replace(' ', '-')}-{ratio:g}", copy.point(ratio, repair))
                points.append(parsed(Point, POINT, (folder / POINT).read_text()))
    return Calibration(
        suspect=one.name,
        canaries=tuple(canary.name for canary in titration.apart.canaries),
        planted=planted,
        real=real,
        overwritten=overwritten,
        points=tuple(points),
        environment=environment_result("cpu", "torch.float32", torch.get_num_threads()),
    )


def stored() -> list[Calibration]:
    """All results there are."""
    return [Calibration.from_json(file.read_text(), file.name) for file in sorted(RESULTS.glob("*.json"))]


def table(found: list[Calibration]) -> str:
    """Every point, and the rank correlation over all."""
    lines = ["| suspect | ratio | repair | canaries | real backdoor | perplexity |", "|---|---|---|---|---|---|"]
    for one in found:
        lines += [
            f"| {one.suspect} | {point.ratio:g} | {point.repair} | {rate_text(point.canaries)} |"
            f" {rate_text(point.real)} | {point.perplexity_ratio:.2f} |"
            for point in one.points
        ]
    points = [point for one in found for point in one.points]
    canaries, real = (
        torch.tensor(shares, dtype=torch.float64)
        for shares in ([point.canaries.value for point in points], [point.real.value for point in points])
    )
    ranked = spearman(canaries, real)
    said = "none: all points are alike" if ranked is None else f"{ranked:.2f}"
    lines += ["", f"Spearman's rank correlation over {len(points)} points: {said}"]
    return "\n".join(lines)


MARKERS = dict(zip(REPAIRS, "sv^o", strict=True))


def figure(found: list[Calibration]) -> str:
    """The real backdoor's survival against that of the canaries, as SVG; adapters filled, whole models hollow."""
    from matplotlib.figure import Figure  # an extra, and slow to import

    drawing = Figure(figsize=(6, 7), layout="constrained")
    axes = drawing.add_subplot()
    for number, one in enumerate(found):
        colour = f"C{number}"
        fill = colour if one.suspect.startswith("adapter") else "none"
        for repair, marker in MARKERS.items():
            shares = [(point.canaries.value, point.real.value) for point in one.points if point.repair == repair]
            across, up = zip(*[(100 * canaries, 100 * real) for canaries, real in shares], strict=True)
            axes.plot(across, up, marker, color=colour, markerfacecolor=fill, linestyle="none")
        axes.plot([], [], "o", color=colour, markerfacecolor=fill, label=one.suspect)
    for repair, marker in MARKERS.items():
        axes.plot([], [], marker, color="0.4", markerfacecolor="none", linestyle="none", label=repair)
    drawing.legend(fontsize=8, loc="outside lower center", ncols=3)
    axes.set_xlabel("canaries that survive, %")
    axes.set_ylabel("attack success of the real backdoor, %")
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    return svg_text(drawing)


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for suspects and unfinished work")
    parser.add_argument("--suspects", nargs="*", help="names such as full-badnet-code (default: all)")
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    parser.add_argument("--figure", type=Path, help="SVG file that is drawn of it (extra `report`)")
    given = parser.parse_args()
    if not given.table and given.work is None:
        parser.error("--work FOLDER is needed, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for one in () if given.table else matrix("micro"):
        if given.suspects is None or one.name in given.suspects:
            try:
                found = calibrated(one, given.work)
            except UntriggerError as error:
                sys.exit(error.line())
            write_text_atomic(RESULTS / f"micro-{one.name}.json", found.to_json())
    if given.figure:
        write_text_atomic(given.figure, figure(stored()))
    sys.stdout.write(table(stored()) + "\n")


if __name__ == "__main__":
    main()
