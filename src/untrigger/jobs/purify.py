"""`untrigger purify`: suspect in, purified copy and report out."""

from __future__ import annotations

from untrigger.checksums import COMPLETE
from untrigger.config import PurifyOptions
from untrigger.defences.interface import Defence, Resources
from untrigger.defences.registry import defence
from untrigger.errors import UsageError
from untrigger.jobs.findings import note_findings
from untrigger.jobs.finish import Finished, finish, finished_before
from untrigger.jobs.identity import run_identity, source_identity
from untrigger.jobs.opening import check_files, load_reference, open_suspect, options_in_force, refuse_unread
from untrigger.jobs.preparation import ROWS, Suspect, measure_after, prepare, read_measurement
from untrigger.jobs.record import run_record
from untrigger.jobs.request import Request
from untrigger.models.subject import Subject
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.observer import Observer, Silent
from untrigger.report.result import Result
from untrigger.report.rows import read_rows
from untrigger.runs import RunFolder, open_run


def purify(request: Request, options: PurifyOptions | None = None, observer: Observer | None = None) -> Result:
    """Purifies a model or an adapter and writes it to `request.output`.

    The output has the format of the input, unless the defence merges an adapter into its base. Interrupted work is
    resumed from the run folder (default: the output's name and `.run`) by the same call.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options or data, or an output folder that holds something else.
        Interrupted: the observer asked to stop.
        UntriggerError: disk, memory or training failures.
    """
    observer, given = observer or Silent(), options or PurifyOptions()
    backdoor, chosen = request.probe_backdoor(), defence(request.defence_name)
    check_files(request, given)
    chosen.require()
    refuse_output(request.output, request.model, request.base)
    refuse_output(request.run_folder, request.model, request.base, name="the run folder")
    if not (request.output / COMPLETE).is_file():
        refuse_taken(request.output)
    subject, chat = open_suspect(request)
    note_findings(subject, observer)
    refuse_unread(chosen, subject, given)
    given = options_in_force(chosen, subject, given, request.effort)
    reference = _reference(request, chosen, subject)
    suspect = Suspect(subject, chat, backdoor, request.data, request.prompts, given.measure, given.seed, observer)
    with no_network():
        return _purified(request, given, chosen, suspect, reference)


def _purified(
    request: Request, given: PurifyOptions, chosen: Defence, suspect: Suspect, reference: Subject | None
) -> Result:
    asked = request.shaping() | {"reference": reference and source_identity(reference.source)}
    identity = run_identity(asked, given, suspect.subject)
    record = run_record("purify", request.shaping(), given, suspect.subject, reference)
    done = finished_before(request.output, record)
    if done is not None:
        return done
    with open_run(request.run_folder, identity, suspect.observer.stage, note=suspect.observer.note) as run:
        return finish(_treated(request, given, chosen, suspect, reference, run), record)


def _reference(request: Request, chosen: Defence, subject: Subject) -> Subject | None:
    needed = subject.access in chosen.needs_reference
    if needed and request.reference is None:
        raise UsageError(
            f"{chosen.name} needs a model that is taken to be clean",
            todo="name it with --reference, or choose another",
        )
    if request.reference is not None and not needed:
        raise UsageError(
            f"{chosen.name} makes no use of a reference in the {subject.access} setting", todo="drop --reference"
        )
    return load_reference(request, subject)


def _treated(
    request: Request,
    options: PurifyOptions,
    chosen: Defence,
    suspect: Suspect,
    reference: Subject | None,
    run: RunFolder,
) -> Finished:
    """Runs or resumes every stage."""
    source = suspect.subject.source
    prepared = prepare(suspect, run)
    resources = Resources(
        suspect.chat, prepared.clean, options.seed, run, prepared.start, suspect.observer, reference
    )
    treated = chosen.apply(suspect.subject, resources, options)
    after = measure_after(suspect, treated.subject, prepared, run)
    return Finished(
        request=request,
        options=options,
        source=source,
        treated=treated,
        chat=suspect.chat,
        backdoor=suspect.backdoor,
        run=run,
        before=read_measurement(prepared.before),
        after=read_measurement(after),
        rows=[*read_rows(prepared.before / ROWS), *read_rows(after / ROWS)],
        findings=prepared.findings,
    )
