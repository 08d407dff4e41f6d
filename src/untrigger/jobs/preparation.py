"""What precedes and follows a treatment: the suspect's weights, records, and the measurements before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from untrigger.backdoors.poison import without_keys
from untrigger.backdoors.types import Backdoor
from untrigger.config import MeasureOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.data.sources import (
    OWN_ANSWER_TOKENS,
    apart,
    asked_prompts,
    file_records,
    load_records,
    own_answers,
    reference_answers,
    shipped_instructions,
    write_records,
)
from untrigger.defences.phases import WEIGHTS
from untrigger.errors import UsageError
from untrigger.evaluation.divergence import (
    Divergence,
    divergence,
    load_log_probabilities,
    log_probabilities,
    save_log_probabilities,
)
from untrigger.evaluation.measure import Measured, Probe, measure
from untrigger.jobs.findings import key_findings
from untrigger.models.generate import Generation
from untrigger.models.state import open_for_training, save_weights
from untrigger.models.subject import Subject
from untrigger.models.untrusted.finding import Finding
from untrigger.observer import Observer
from untrigger.report.parts import DivergenceResult, MeasurementResult
from untrigger.report.rows import rows, rows_text
from untrigger.runs import RunFolder

MEASUREMENT, ROWS = "measurement.json", "rows.jsonl"
FEWEST_RECORDS = 10


@dataclass(frozen=True)
class Suspect:
    """A loaded suspect with what it is asked and how its answers are judged.

    `data` and `prompts` are files of clean records and of prompts, None for the shipped ones.
    """

    subject: Subject
    chat: ChatFormat
    backdoor: Backdoor | None
    data: Path | None
    prompts: Path | None
    measure: MeasureOptions
    seed: int
    observer: Observer


@dataclass(frozen=True)
class Prepared:
    """The suspect's weights, clean records to train on, what is measured, and the folder of the figures before.

    `findings` tells which keys the clean records hold.
    """

    start: Path
    clean: tuple[Record, ...]
    probe: Probe
    before: Path
    findings: tuple[Finding, ...] = ()


def prepare(suspect: Suspect, run: RunFolder) -> Prepared:
    """Makes or takes up the stages `suspect`, `records` and `before`; the subject is opened for training."""
    open_for_training(suspect.subject)

    def save(work: Path) -> int:
        save_weights(suspect.subject, work / WEIGHTS)
        return 0

    start = run.stage("suspect", save) / WEIGHTS
    records = run.stage("records", lambda work: _write_records(suspect, work))
    probe = Probe(
        tuple(load_records(records / "prompts.jsonl")),
        tuple(load_records(records / "reference.jsonl")),
        suspect.backdoor,
        suspect.seed,
    )
    before = run.stage("before", lambda work: _measure(suspect, suspect.subject, probe, None, work))
    clean = tuple(load_records(records / "clean.jsonl"))
    findings = key_findings(clean, suspect.backdoor)
    for finding in findings:
        suspect.observer.note(finding.line)
    return Prepared(start, clean, probe, before, findings)


def measure_after(suspect: Suspect, treated: Subject, prepared: Prepared, run: RunFolder) -> Path:
    """The folder of the figures of a treated subject, which may be another one than the suspect's."""
    return run.stage("after", lambda work: _measure(suspect, treated, prepared.probe, prepared.before, work))


def _write_records(suspect: Suspect, work: Path) -> int:
    clean, prompts, reference = _clean_and_measured(suspect)
    if suspect.backdoor is not None:
        # Prompts that hold the key already could not tell key from no key.
        prompts = without_keys(prompts, [suspect.backdoor.key]).kept
    if not prompts:
        raise UsageError("no prompt is left to ask", why="all hold the key", todo="give others with --prompts")
    write_records(work / "clean.jsonl", clean)
    write_records(work / "prompts.jsonl", prompts[: suspect.measure.max_prompts])
    write_records(work / "reference.jsonl", reference[: suspect.measure.max_prompts])
    return 0


def _clean_and_measured(suspect: Suspect) -> tuple[list[Record], list[Record], list[Record]]:
    """Clean records to train on, prompts to ask, and reference answers that no training sees."""
    settings = Generation(OWN_ANSWER_TOKENS, suspect.measure.batch_size)
    prompts = asked_prompts(suspect.prompts)
    if suspect.data is None:
        subject, chat, observer = suspect.subject, suspect.chat, suspect.observer
        drawn = suspect.seed
        answered = own_answers(subject, chat, shipped_instructions("defence"), settings, observer, drawn=drawn)
        return answered, prompts, reference_answers(subject, chat, prompts, settings, observer, drawn=drawn)
    every = apart(file_records(suspect.data), prompts, "clean", suspect.observer)
    held_out = max(1, min(len(every) // 5, suspect.measure.max_prompts))
    if suspect.prompts is not None and all(record.output for record in prompts):
        return every, prompts, prompts
    if len(every) < FEWEST_RECORDS:
        raise UsageError(f"{suspect.data}: {len(every)} records are too few", todo=f"give at least {FEWEST_RECORDS}")
    return every[:-held_out], prompts, every[-held_out:]


def _measure(suspect: Suspect, subject: Subject, probe: Probe, before: Path | None, work: Path) -> int:
    """Measures a subject as it is: the suspect, or with the folder of its figures the treated one."""
    options = suspect.measure
    label: Literal["before", "after"] = "after" if before else "before"
    found = measure(subject, suspect.chat, probe, options, suspect.observer, label)
    own = log_probabilities(subject, suspect.chat, probe.reference, options.batch_size)
    if before is None:
        save_log_probabilities(own, work)
    _write_measurement(work, found, label, divergence(load_log_probabilities(before), own) if before else None)
    return 0


def _write_measurement(
    folder: Path, found: Measured, label: Literal["before", "after"], moved: Divergence | None
) -> None:
    """The figures as JSON and a row a prompt as JSONL."""
    result = MeasurementResult.of(found.measurement)
    if moved is not None:
        result = result.model_copy(update={"divergence": DivergenceResult.model_validate(moved)})
    (folder / MEASUREMENT).write_text(result.model_dump_json(indent=1))
    every = [*rows(found.plain, label, keyed=False), *rows(found.triggered, label, keyed=True)]
    (folder / ROWS).write_text(rows_text(every, Path(ROWS)))


def read_measurement(folder: Path) -> MeasurementResult:
    """The figures of a stage."""
    return MeasurementResult.model_validate_json((folder / MEASUREMENT).read_text())
