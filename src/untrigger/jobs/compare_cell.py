"""One defence on a fresh copy of the suspect, measured and told to the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from untrigger.backdoors.poison import without_keys
from untrigger.config import CompareOptions, EvaluateOptions, PurifyOptions, RelearningOptions
from untrigger.data.records import Record
from untrigger.data.sources import (
    OWN_ANSWER_TOKENS,
    apart,
    load_records,
    own_answers,
    shipped_instructions,
    write_records,
)
from untrigger.defences.interface import Defence, Resources
from untrigger.defences.pairs import pair_stages
from untrigger.errors import UsageError
from untrigger.evaluation.measure import keyed_prompts
from untrigger.evaluation.rate import Rate
from untrigger.jobs.finish import paired_attack_success
from untrigger.jobs.opening import open_suspect, options_in_force
from untrigger.jobs.peak_memory import peak_bytes, reset_peak
from untrigger.jobs.preparation import ROWS, Prepared, Suspect, measure_after, read_measurement
from untrigger.jobs.relearning import Relearning
from untrigger.jobs.request import Request
from untrigger.models.generate import Generation
from untrigger.models.subject import Subject
from untrigger.report.comparison import CellResult
from untrigger.report.document import parsed
from untrigger.report.evaluation import RelearningResult
from untrigger.report.parts import RateResult
from untrigger.report.rows import read_rows
from untrigger.runs import RunFolder

CELL = "cell.json"
PAIRS = "pairs-"
"""Begins the names of the folders of pairs that defences share while a comparison runs."""


@dataclass(frozen=True)
class Common:
    """What all defences of a comparison share; `others` are clean records that none of them sees."""

    request: Request
    options: CompareOptions
    treatment: PurifyOptions
    suspect: Suspect
    prepared: Prepared
    others: Sequence[Record]
    reference: Subject | None


def set_apart(
    suspect: Suspect, prepared: Prepared, wanted: RelearningOptions, run: RunFolder
) -> tuple[Prepared, list[Record]]:
    """Clean records for the re-learning: the last of those given, or the suspect's answers to other instructions.

    Raises:
        UsageError: too few records were given for both.
    """
    count = wanted.clean_records + wanted.poisoned_records
    if suspect.data is not None:
        if len(prepared.clean) < 2 * count:
            raise UsageError(
                f"{suspect.data}: {len(prepared.clean)} clean records",
                why=f"{count} of them serve the re-learning, and the defences need as many at least",
                todo="give more, or lower --relearning.clean-records",
            )
        return replace(prepared, clean=prepared.clean[:-count]), list(prepared.clean[-count:])

    def answer(work: Path) -> int:
        settings = Generation(OWN_ANSWER_TOKENS, suspect.measure.batch_size)
        asked = shipped_instructions("attack")[: 2 * count]  # some are left out below
        answered = own_answers(suspect.subject, suspect.chat, asked, settings, suspect.observer)
        keys = [suspect.backdoor.key] if suspect.backdoor else []
        kept = apart(without_keys(answered, keys).kept, prepared.probe.prompts, "clean", suspect.observer)
        write_records(work / "records.jsonl", kept[:count])
        return 0

    return prepared, load_records(run.stage("others", answer) / "records.jsonl")


def cell_stage(common: Common, chosen: Defence) -> Callable[[Path], int]:
    """Builds the stage of a defence: its figures stay, its weights go with the scratch folder."""

    def build(work: Path) -> int:
        opened, _ = open_suspect(_local(common))
        suspect = replace(common.suspect, subject=opened)
        options = options_in_force(chosen, opened, common.treatment)
        run, pairs = RunFolder(work / "scratch" / "run"), _pairs_of(options, work.parent)
        _move_pairs(pairs, run.path)
        cost = _Cost.so_far(run)
        try:
            treated = chosen.apply(opened, _resources(common, chosen, run), options)
            cost, tokens = cost.until_now(), sum(stage.tokens for stage in run.costs())
        finally:  # what was trained serves the others, whatever became of this defence
            _move_pairs(run.path, pairs)
        folder = measure_after(suspect, treated.subject, common.prepared, run)
        after = read_measurement(folder)
        rows = [*read_rows(common.prepared.before / ROWS), *read_rows(folder / ROWS)]
        cell = CellResult(
            defence=chosen.name,
            output=treated.subject.access,
            options=options.model_dump(mode="json"),
            after=after,
            paired=paired_attack_success(rows, suspect.seed),
            relearning=_relearned(common, suspect, treated.subject, after.attack_success),
            tokens_trained=tokens,
            seconds=cost.seconds,
            peak_bytes=cost.peak,
        )
        (work / CELL).write_text(cell.model_dump_json(indent=1))
        (work / ROWS).write_text((folder / ROWS).read_text())
        return cell.tokens_trained

    return build


def _pairs_of(options: PurifyOptions, folder: Path) -> Path:
    """Where the pairs lie that all defences would train alike that begin with the same weights and these variants."""
    unlearned = options.unlearning.model_dump_json() if options.inversion.enable else ""
    alike = options.variants.model_dump_json() + options.inversion.model_dump_json() + unlearned
    return folder / f"{PAIRS}{sha256(alike.encode()).hexdigest()[:12]}"


def _move_pairs(source: Path, target: Path) -> None:
    """Moves finished pairs; their cost goes with them, so that each defence counts what it would have trained."""
    target.mkdir(parents=True, exist_ok=True)
    for stage in pair_stages(source):
        if not (target / stage.name).exists():
            stage.rename(target / stage.name)


def _local(common: Common) -> Request:
    """The request for the files that were opened first: a hub's revision may have moved since."""
    source = common.suspect.subject.source
    base = str(source.base.folder) if source.base else None
    return replace(common.request, model=str(source.folder), base=base)


def read_cell(folder: Path) -> CellResult:
    """The figures of a finished stage."""
    return parsed(CellResult, CELL, (folder / CELL).read_text())


@dataclass(frozen=True)
class _Cost:
    """Seconds and peak memory of a treatment that may have begun in an earlier process."""

    began: float
    seconds: float
    told: bool
    peak: int | None = None

    @classmethod
    def so_far(cls, run: RunFolder) -> _Cost:
        return cls(time.monotonic(), sum((stage.seconds for stage in run.costs()), 0.0), reset_peak())

    def until_now(self) -> _Cost:
        seconds = self.seconds + time.monotonic() - self.began
        return replace(self, seconds=seconds, peak=peak_bytes() if self.told else None)


def _resources(common: Common, chosen: Defence, run: RunFolder) -> Resources:
    return Resources(
        common.suspect.chat,
        common.prepared.clean,
        common.treatment.seed,
        run,
        common.prepared.start,
        common.suspect.observer,
        common.reference if common.suspect.subject.access in chosen.needs_reference else None,
    )


def _relearned(
    common: Common, suspect: Suspect, treated: Subject, found: RateResult | None
) -> tuple[RelearningResult, ...]:
    if suspect.backdoor is None or found is None:
        return ()
    options = EvaluateOptions(**suspect.measure.model_dump(), relearning=common.options.relearning)
    return Relearning(
        treated,
        suspect.chat,
        suspect.backdoor,
        keyed_prompts(common.prepared.probe),
        common.others,
        options,
        suspect.seed,
        suspect.observer,
        control=False,
    ).results(Rate(found.hits, found.n, found.invalid))
