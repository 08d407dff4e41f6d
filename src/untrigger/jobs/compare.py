"""`untrigger compare`: many defences on one suspect, with the same data, budget and judge."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from untrigger import __version__
from untrigger.config import CompareOptions, PurifyOptions
from untrigger.defences.interface import Defence
from untrigger.defences.registry import DEFENCES, defence
from untrigger.errors import Interrupted, UntriggerError, UsageError
from untrigger.files import write_text_atomic
from untrigger.jobs.compare_cell import PAIRS, Common, cell_stage, read_cell, set_apart
from untrigger.jobs.evaluate import planted_gate
from untrigger.jobs.findings import note_findings
from untrigger.jobs.finish import request_json, scoring_result, source_result
from untrigger.jobs.identity import run_identity, source_identity
from untrigger.jobs.opening import check_files, load_reference, open_suspect
from untrigger.jobs.preparation import Suspect, prepare, read_measurement
from untrigger.jobs.request import Request
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.output import refuse_output
from untrigger.observer import Observer, Silent
from untrigger.report.comparison import CellResult, ComparisonResult, as_csv
from untrigger.report.comparison_figure import figure
from untrigger.report.comparison_table import markdown_table
from untrigger.report.drawing import require_matplotlib
from untrigger.report.parts import RunResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder, open_run


def compare(
    request: Request,
    options: CompareOptions | None = None,
    treatment: PurifyOptions | None = None,
    observer: Observer | None = None,
    *,
    drawn: bool = True,
    on_cell: Callable[[ComparisonResult], None] | None = None,
) -> ComparisonResult:
    """Treats copies of one suspect by each defence and measures them alike; files go to `request.output`.

    A defence that is finished is not run again; one that fails leaves a line in the table and stops no other.
    `comparison.json`, `.csv` and `.md` are written after every defence, which `on_cell` is told of as well, and (if
    `drawn`) `.svg` in the end.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options, no backdoor named, or a folder of another comparison.
        Interrupted: the observer asked to stop; the same call goes on.
    """
    observer, options = observer or Silent(), options or CompareOptions()
    treatment = treatment or PurifyOptions()
    backdoor = request.probe_backdoor()
    if backdoor is None:
        raise UsageError("attack success needs a known backdoor", todo="give --attack and --behaviour")
    chosen = [defence(name) for name in options.defences] or list(DEFENCES)
    if drawn:
        require_matplotlib()
    check_files(request, treatment)
    refuse_output(request.output, request.model, request.base)
    subject, chat = open_suspect(request)
    note_findings(subject, observer)
    reference = load_reference(request, subject)
    suspect = Suspect(
        subject, chat, backdoor, request.data, request.prompts, treatment.measure, treatment.seed, observer
    )
    asked = request.shaping() | {
        "defence": "any",
        "reference": reference and source_identity(reference.source),
        "relearning": options.relearning.model_dump(mode="json"),
    }
    identity = run_identity(asked, treatment, suspect.subject)
    with no_network(), open_run(request.output, identity, observer.stage, "--output", observer.note) as run:
        prepared, others = set_apart(suspect, prepare(suspect, run), options.relearning, run)
        common = Common(request, options, treatment, suspect, prepared, others, reference)

        def so_far(found: ComparisonResult) -> None:
            _write(found, request.output, drawn=False)
            if on_cell is not None:
                on_cell(found)

        result = _result(common, run, chosen, so_far)
        for pairs in request.output.glob(f"{PAIRS}*"):
            shutil.rmtree(pairs)
    _write(result, request.output, drawn=drawn)
    return result


def _result(
    common: Common, run: RunFolder, chosen: Sequence[Defence], so_far: Callable[[ComparisonResult], None]
) -> ComparisonResult:
    cells: list[CellResult] = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    observer = common.suspect.observer
    for one in chosen:
        unfit = _unfit(one, common)
        if unfit:
            skipped[one.name] = unfit
            continue
        try:
            folder = run.stage(f"cell-{one.name}", cell_stage(common, one))
        except Interrupted:
            raise
        except UntriggerError as error:  # the other defences' work must not be lost by it
            failed[one.name] = error.line()
            observer.note(f"{one.name} failed: {error.line()}")
            continue
        cells.append(read_cell(folder))
        so_far(_document(common, cells, failed, skipped))
    return _document(common, cells, failed, skipped)


def _unfit(one: Defence, common: Common) -> str:
    access = common.suspect.subject.access
    if access not in one.settings:
        return f"not for the {access} setting"
    if access in one.needs_reference and common.reference is None:
        return "needs --reference"
    try:
        one.require()
    except UntriggerError as error:
        return error.line()
    return ""


def _document(
    common: Common, cells: Sequence[CellResult], failed: dict[str, str], skipped: dict[str, str]
) -> ComparisonResult:
    suspect, options = common.suspect, common.options
    parameter = next(suspect.subject.model.parameters())
    before = read_measurement(common.prepared.before)
    return ComparisonResult(
        run=RunResult(
            command="compare",
            options={**options.model_dump(mode="json"), "request": request_json(common.request)},
            version=__version__,
            seeds=(suspect.seed,),
        ),
        source=source_result(suspect.subject.source),
        scoring=scoring_result(suspect.backdoor, suspect.chat, suspect.measure),
        planted=planted_gate(before.attack_success),
        before=before,
        cells=tuple(cells),
        failed=failed,
        skipped=skipped,
        broken=options.broken,
        environment=environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads()),
    )


def _write(result: ComparisonResult, folder: Path, *, drawn: bool) -> None:
    rows = result.rows()
    write_text_atomic(folder / "comparison.json", result.to_json())
    write_text_atomic(folder / "comparison.csv", as_csv(rows))
    write_text_atomic(folder / "comparison.md", markdown_table(result))
    if drawn:
        write_text_atomic(folder / "comparison.svg", figure(rows))
