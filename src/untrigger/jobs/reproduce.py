"""`untrigger reproduce`: a recorded job, done again, and its weights held against the recorded hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from untrigger.config import AttackOptions, PurifyOptions
from untrigger.errors import UsageError
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.record import read_record
from untrigger.jobs.recorded_inputs import Found, find_inputs, require_recorded
from untrigger.jobs.request import Request
from untrigger.models.untrusted.output import refuse_output
from untrigger.observer import Observer, Silent
from untrigger.report.document import Model, parsed
from untrigger.report.parts import EnvironmentResult
from untrigger.report.provenance import Difference, ReproductionResult, WeightComparison
from untrigger.report.reproduction import PlantingAsked, PurificationAsked, Reproduction
from untrigger.report.summary import environment_result


@dataclass(frozen=True)
class ReproduceRequest:
    """One reproduction.

    `record` is a `reproduce.json` or an output that holds one. The inputs it names are looked for here and beside
    that output; what lies elsewhere is given. Whatever lies where, its hashes decide.
    """

    record: Path
    output: Path
    model: str | None = None
    base: str | None = None
    reference: str | None = None
    data: str | None = None
    prompts: str | None = None
    records: str | None = None
    device: str | None = None
    """Another device than the recorded one."""
    accept_template: bool = False
    """Go on although a chat template branches on what messages say; no record can allow that."""

    def given(self) -> dict[str, str | None]:
        """Inputs by what they are for."""
        models = {"model": self.model, "base": self.base, "reference": self.reference}
        return models | {"data": self.data, "prompts": self.prompts, "records": self.records}


def reproduce(request: ReproduceRequest, observer: Observer | None = None) -> ReproductionResult:
    """Does a recorded job again, with its options and on the same bytes, and compares the weights.

    The same call resumes an interrupted run; with a finished output it only compares.

    Raises:
        UsageError: no record, inputs that are missing or not those recorded, or an output that holds another run.
        InputRefused: a model that is unsafe, broken or unsupported.
        Interrupted: the observer asked to stop.
        UntriggerError: as `purify` and `attack`.
    """
    observer = observer or Silent()
    record = read_record(request.record)
    if not record.weights:
        raise UsageError(f"{request.record} records no weights", todo="name the record of a finished output")
    device = request.device or record.environment.device
    differences = environment_differences(record.environment, device)
    for one in differences:
        observer.note(f"{one.name} was {one.recorded} and is {one.now}: the weights may differ in their last bits")
    if not request.output.exists():
        _again(request, record, device, observer)
    made = read_record(request.output)
    if not made.same_work(record):
        raise UsageError(f"{request.output} holds the output of another run", todo="name another output folder")
    return ReproductionResult(
        job=record.job,
        output=str(request.output),
        environment=differences,
        weights=tuple(
            WeightComparison(name=name, recorded=digest, made=made.weights.get(name))
            for name, digest in record.weights.items()
        ),
    )


def environment_differences(recorded: EnvironmentResult, device: str) -> tuple[Difference, ...]:
    """Versions, platform, threads and device that are not as recorded."""
    now = _facts(environment_result(device, recorded.dtype, torch.get_num_threads()))
    return tuple(
        Difference(name=name, recorded=value, now=now.get(name, "not known"))
        for name, value in _facts(recorded).items()
        if now.get(name) != value
    )


def _facts(environment: EnvironmentResult) -> dict[str, str]:
    values = environment.model_dump(exclude={"packages"}) | environment.packages
    return {name: str(value) for name, value in values.items()}


def _again(request: ReproduceRequest, record: Reproduction, device: str, observer: Observer) -> None:
    recorded = request.record if request.record.is_dir() else request.record.absolute().parent
    found = find_inputs(record, request.given(), beside=recorded.absolute().parent)
    held = str(request.record) if request.record.is_dir() else None
    refuse_output(request.output, found.model, found.base, found.reference, held)
    require_recorded(found, record.inputs)
    if isinstance(record.request, PurificationAsked):
        purify(
            _purification(request, record, record.request, found, device), _options(PurifyOptions, record), observer
        )
    else:
        attack(_planting(request, record, record.request, found, device), _options(AttackOptions, record), observer)


def _purification(
    request: ReproduceRequest, record: Reproduction, asked: PurificationAsked, found: Found, device: str
) -> Request:
    return Request(
        model=found.model,
        output=request.output,
        base=found.base,
        data=found.files.get("data"),
        prompts=found.files.get("prompts"),
        attack=asked.attack,
        behaviour=asked.behaviour,
        defence=asked.defence,
        reference=found.reference,
        template=asked.template,
        other_template=True,  # whoever recorded it went on under this template
        accept_template=request.accept_template,
        replace_template=asked.replace_template,
        device=device,
        dtype=record.environment.dtype.removeprefix("torch."),
    )


def _planting(
    request: ReproduceRequest, record: Reproduction, asked: PlantingAsked, found: Found, device: str
) -> AttackRequest:
    return AttackRequest(
        model=found.model,
        output=request.output,
        attack=asked.attack,
        behaviour=asked.behaviour,
        access=asked.access,
        records=found.files.get("records"),
        data=found.files.get("data"),
        prompts=found.files.get("prompts"),
        template=asked.template,
        device=device,
        dtype=record.environment.dtype.removeprefix("torch."),
        accept_template=request.accept_template,
        measured=asked.measured,
    )


def _options(kind: type[Model], record: Reproduction) -> Model:
    return parsed(kind, "the recorded options", json.dumps(record.options))
