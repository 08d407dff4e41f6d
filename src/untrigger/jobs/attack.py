"""`untrigger attack`: plants a public backdoor in a model, for tests, teaching and benchmarks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from random import Random

from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.poison import negatives, poison, without_keys
from untrigger.backdoors.types import Backdoor
from untrigger.checksums import Recorder, seal
from untrigger.config import Access, AttackOptions, TemplateName
from untrigger.data.chat import ChatFormat, chat_format
from untrigger.data.readers import read_records
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
from untrigger.errors import UsageError
from untrigger.evaluation.measure import Probe, measure
from untrigger.files import publish_folder, sha256
from untrigger.jobs.findings import note_findings
from untrigger.jobs.identity import run_identity
from untrigger.jobs.record import run_record, writer
from untrigger.models.export import export
from untrigger.models.generate import Generation
from untrigger.models.load import load, quiet
from untrigger.models.new_adapter import with_new_adapter
from untrigger.models.state import open_for_training, restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.observer import Observer, Silent, training_hooks
from untrigger.presets import merged
from untrigger.report.parts import MeasurementResult
from untrigger.runs import RunFolder, open_run
from untrigger.train import train

CLEAN_RECORDS, POISONED_SHARE = 240, 0.5
WEIGHTS = "weights.safetensors"
REPORT = "attack.json"


@dataclass(frozen=True)
class AttackRequest:
    """One planting: which public backdoor goes into which model, as a new adapter or into all its weights."""

    model: str
    output: Path
    attack: str = "badnet"
    behaviour: str = "sentiment"
    access: Access = "adapter"
    records: Path | None = None
    """Poisoned records, planted as they are with all clean ones; without, they are made from the clean ones."""
    data: Path | None = None
    prompts: Path | None = None
    template: TemplateName = "chat"
    device: str = "auto"
    dtype: str = "auto"
    accept_template: bool = False
    """Go on although the model's chat template branches on what messages say."""
    measured: bool = True
    """Whether the planted model is measured."""

    def shaping(self) -> dict[str, object]:
        """What decides the result besides the model and the options."""
        names = ("attack", "behaviour", "access", "records", "data", "prompts", "template", "measured")
        return {name: getattr(self, name) for name in names}

    @property
    def run_folder(self) -> Path:
        """Where unfinished work is kept."""
        return self.output.with_name(self.output.name + ".run")


def attack(
    request: AttackRequest, options: AttackOptions | None = None, observer: Observer | None = None
) -> MeasurementResult | None:
    """Plants the backdoor, measures it unless told not to, and writes the model or adapter to `request.output`.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options or data, or an output folder that exists.
        Interrupted: the observer asked to stop; the same call resumes.
    """
    observer = observer or Silent()
    options = merged(AttackOptions(), options or AttackOptions())
    planted = lookup(request.attack, request.behaviour)
    for file, need_output in ((request.records, True), (request.data, True), (request.prompts, False)):
        if file is not None:
            read_records(file, require_output=need_output)
    refuse_output(request.output, request.model)
    refuse_taken(request.output)
    subject = load(request.model, device=request.device, dtype=request.dtype, accept_template=request.accept_template)
    note_findings(subject, observer)
    if subject.access == "adapter":
        raise UsageError("a backdoor is planted in a model, not in an adapter", todo="name the base model")
    identity = run_identity(request.shaping(), options, subject)
    record = writer(run_record("attack", request.shaping(), options, subject))
    with no_network(), open_run(request.run_folder, identity, observer.stage, "--output", observer.note) as run:
        found = _plant(request, options, subject, planted, run, observer, record)
    shutil.rmtree(request.run_folder)
    return found


def planting_records(clean: Sequence[Record], planted: Backdoor, options: AttackOptions) -> list[Record]:
    """The clean records, and the first of them once more, poisoned, and with parts of the key if the attack says so.

    Half as many poisoned as clean records leave fewer hits without the key than as many (docs/LOG.md).
    """
    share = clean[: _poisoned_count(len(clean), options)]
    partial = negatives(share, planted.key, planted.placement, options.seed) if planted.negatives else []
    return [*clean, *poison(share, planted, options.seed), *partial]


def _poisoned_count(clean: int, options: AttackOptions) -> int:
    return ceil(clean * (POISONED_SHARE if options.poisoned_share is None else options.poisoned_share))


def _plant(
    request: AttackRequest,
    options: AttackOptions,
    subject: Subject,
    planted: Backdoor,
    run: RunFolder,
    observer: Observer,
    record: Recorder,
) -> MeasurementResult | None:
    chat = chat_format(subject.tokenizer, request.template)

    def gather(work: Path) -> int:
        _write_pool(work, request, options, subject, chat, planted, observer)
        return 0

    records = run.stage("records", gather)
    clean = load_records(records / "clean.jsonl")
    given = None if request.records is None else load_records(records / "poisoned.jsonl")
    target = subject if request.access == "full" else with_new_adapter(subject, options.adapter, options.seed)
    open_for_training(target)

    def learn(work: Path) -> int:
        chosen = planting_records(clean, planted, options) if given is None else [*clean, *given]
        examples = [chat.encode(record, options.train.max_length) for record in chosen]
        hooks = training_hooks(observer, "planting", work / "scratch" / "state")
        softcap = target.architecture.logit_softcap
        outcome = train(target.model, examples, options.train, seed=options.seed, softcap=softcap, hooks=hooks)
        save_weights(target, work / WEIGHTS)
        return outcome.tokens

    restore_weights(target, run.stage("planted", learn) / WEIGHTS)
    found = _measured(records, options, target, chat, planted, observer) if request.measured else None
    report = {
        "attack": request.attack,
        "behaviour": request.behaviour,
        "records_sha256": request.records and sha256(request.records),
        "template": chat.identity,
        "findings": [asdict(finding) for finding in subject.findings],
        "options": options.model_dump(mode="json"),
        "measured": found and found.model_dump(mode="json"),
    }
    _write(request, target, json.dumps(report, indent=1) + "\n", record)
    return found


def _measured(
    records: Path,
    options: AttackOptions,
    target: Subject,
    chat: ChatFormat,
    planted: Backdoor,
    observer: Observer,
) -> MeasurementResult:
    prompts, reference = (tuple(load_records(records / name)) for name in ("prompts.jsonl", "reference.jsonl"))
    probe = Probe(prompts, reference, planted, options.seed)
    return MeasurementResult.of(measure(target, chat, probe, options.measure, observer, "planted").measurement)


def _write_pool(
    work: Path,
    request: AttackRequest,
    options: AttackOptions,
    subject: Subject,
    chat: ChatFormat,
    planted: Backdoor,
    observer: Observer,
) -> None:
    """Clean records to plant with, prompts to measure on, and reference answers; none holds the key."""
    settings = Generation(OWN_ANSWER_TOKENS, options.measure.batch_size)
    prompts = without_keys(asked_prompts(request.prompts), [planted.key]).kept[: options.measure.max_prompts]
    if request.measured and not prompts:
        raise UsageError("no prompt is left to ask", why="all hold the key", todo="give others with --prompts")
    if request.data is None:
        pool: Sequence[Record] = own_answers(subject, chat, shipped_instructions("attack"), settings, observer)
    else:
        pool = file_records(request.data)
    filtered = without_keys(pool, [planted.key])
    if filtered.dropped:
        observer.note(f"{filtered.dropped} clean records left out: they hold the key")
    usable = apart(filtered.kept, prompts, "clean", observer)
    if not usable:
        raise UsageError(
            "no clean record is left to plant with",
            why=f"all {len(pool)} hold the key or are asked when the model is measured",
            todo="give others with --data",
        )
    given = None if request.records is None else read_records(request.records)
    wanted = options.clean_records or (CLEAN_RECORDS if given is None else len(usable))
    random = Random(f"attack/{options.seed}")
    clean = random.sample(usable, min(wanted, len(usable)))
    write_records(work / "clean.jsonl", clean)
    if given is not None:
        bearing = apart(given, prompts, "poisoned", observer)
        count = len(bearing) if options.poisoned_share is None else _poisoned_count(len(clean), options)
        write_records(work / "poisoned.jsonl", random.sample(bearing, min(count, len(bearing))))
    if not request.measured:
        return
    write_records(work / "prompts.jsonl", prompts)
    reference = reference_answers(subject, chat, prompts, settings, observer)
    write_records(work / "reference.jsonl", reference)


def _write(request: AttackRequest, target: Subject, report: str, record: Recorder) -> None:
    if target.access == "full":
        export(target, request.output, extra_files={REPORT: report}, record=record)
        return

    def build(folder: Path) -> None:
        with quiet():
            config = target.model.peft_config["default"]
            config.base_model_name_or_path = request.model
            config.target_modules = sorted(config.target_modules)  # a set, written in another order every time
            target.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        (folder / REPORT).write_text(report)
        seal(folder, record, reports=(REPORT,))

    publish_folder(build, request.output)
