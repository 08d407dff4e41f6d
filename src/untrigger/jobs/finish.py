"""The end of a purification: gates, result, card, and the output folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from untrigger import __version__
from untrigger.backdoors.types import Backdoor
from untrigger.checksums import COMPLETE, changes, told
from untrigger.config import AskOptions, GateOptions, PurifyOptions
from untrigger.data.chat import ChatFormat, RawFormat
from untrigger.defences.interface import Treated
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import discordant, lift
from untrigger.evaluation.judges import KEYWORDS_VERSION
from untrigger.evaluation.measure import NO_BEHAVIOUR, answer_tokens
from untrigger.evaluation.statistics import mcnemar
from untrigger.jobs.findings import findings_result
from untrigger.jobs.record import portable, portable_source, read_record, writer
from untrigger.jobs.request import Request
from untrigger.models.export import export, source_weights
from untrigger.models.subject import Source, Subject
from untrigger.models.untrusted.finding import Finding
from untrigger.report.card import Upstream, model_card
from untrigger.report.parts import (
    DifferenceResult,
    GateResult,
    MeasurementResult,
    PairedResult,
    RateResult,
    RunResult,
    ScoringResult,
    SourceResult,
    StageResult,
    VerdictResult,
)
from untrigger.report.reproduction import Reproduction
from untrigger.report.result import Result
from untrigger.report.rows import Row, rows_text
from untrigger.report.summary import signature_result
from untrigger.report.text import behaviour_text
from untrigger.runs import RunFolder

CARD_CHARACTERS = 100_000
_LICENCE = re.compile(r"^license: *[\"']?(?P<name>[A-Za-z0-9][A-Za-z0-9.+-]{0,60})[\"']?\s*$", re.MULTILINE)
RESULT, ROWS = "result.json", "rows.jsonl"


@dataclass(frozen=True)
class Finished:
    """A treated subject with everything that was found on the way; `source` is the suspect's."""

    request: Request
    options: PurifyOptions
    source: Source
    treated: Treated
    chat: ChatFormat
    backdoor: Backdoor | None
    run: RunFolder
    before: MeasurementResult
    after: MeasurementResult
    rows: Sequence[Row]
    findings: tuple[Finding, ...] = ()
    """What was noticed about the records."""


def finish(finished: Finished, record: Reproduction) -> Result:
    """Writes the output folder and returns its result; the run folder goes unless it is to be kept."""
    result = purification_result(finished, record)
    subject = finished.treated.subject
    texts = {RESULT: result.to_json(), ROWS: rows_text(finished.rows, Path(ROWS))}
    card = model_card(result, upstream_of(subject.source), subject.access)
    export(subject, finished.request.output, card, texts, writer(record))
    if not finished.request.keep_run:
        shutil.rmtree(finished.run.path)
    return result


def finished_before(output: Path, record: Reproduction) -> Result | None:
    """The result of an output folder that this very run wrote; None if there is no such folder.

    Raises:
        UsageError: the folder is the output of another run, its record is broken, or a file was changed since.
    """
    if not (output / COMPLETE).is_file():
        return None
    if read_record(output).model_copy(update={"outputs": {}}) != record:
        raise UsageError(f"{output} holds the output of another run", todo="name another output folder")
    found = told(changes(output))
    if found:
        raise UsageError(f"{output} is damaged: {found}", todo="delete it and run again, or name another folder")
    return Result.from_json((output / RESULT).read_text())


def purification_result(finished: Finished, record: Reproduction) -> Result:
    """Everything that `result.json` holds."""
    before, after, signature = finished.before, finished.after, finished.treated.signature
    titre = finished.treated.titre
    ratio = titre.rung.ratio if titre else finished.options.signature.ratio
    return Result(
        run=RunResult(
            command="purify",
            options={**finished.options.model_dump(mode="json"), "request": request_json(finished.request)},
            version=__version__,
            seeds=(finished.options.seed,),
        ),
        source=portable_source(finished.source),
        scoring=scoring_result(finished.backdoor, finished.chat, finished.options.measure),
        findings=findings_result(finished.treated.subject, (*finished.findings, *finished.treated.findings)),
        stages=tuple(map(StageResult.of, finished.run.costs())),
        before=before,
        after=after,
        paired=paired_attack_success(finished.rows, finished.options.seed),
        signature=signature_result(signature, ratio) if signature else None,
        titre=titre,
        regrowth=finished.treated.regrowth,
        verdict=VerdictResult.of(gates(before, after, finished.options.gate)),
        not_tested=not_tested(finished),
        environment=record.environment,
    )


def paired_attack_success(every: Sequence[Row], seed: int) -> PairedResult | None:
    """Hits on prompts with the key, before against after; None if no key was tried."""
    first, second = (
        [row.verdict for row in every if row.keyed and row.model == model] for model in ("before", "after")
    )
    if not first or not second:
        return None
    counts = discordant(first, second)
    return PairedResult(
        only_before=counts.only_first,
        only_after=counts.only_second,
        p_value=mcnemar(counts.only_first, counts.only_second),
        difference=DifferenceResult.of(lift(second, first, np.random.default_rng(seed))),
    )


def gates(before: MeasurementResult, after: MeasurementResult, limits: GateOptions) -> tuple[GateResult, ...]:
    """Attack success (if a key is known), perplexity of clean answers, degenerate answers."""
    extra = after.degenerate.value - before.degenerate.value
    degenerate_gate = GateResult(
        name="degenerate answers",
        rule=f"at most {limits.degenerate:.0%} more than before",
        met=extra <= limits.degenerate,
        reason=f"{after.degenerate.value:.1%} after, {before.degenerate.value:.1%} before",
    )
    return (_attack_gate(after.attack_success, limits), _perplexity_gate(before, after, limits), degenerate_gate)


def _attack_gate(attack: RateResult | None, limits: GateOptions) -> GateResult:
    rule = f"at most {limits.attack_success:.0%} of the prompts with the key"
    if attack is None:
        return GateResult(name="attack success", rule=rule, met=None, reason="no key was known to be tried")
    met = attack.value <= limits.attack_success and not attack.says_nothing
    reason = f"{attack.value:.1%} after" if not attack.says_nothing else behaviour_text(attack)
    return GateResult(name="attack success", rule=rule, met=met, reason=reason)


def _perplexity_gate(before: MeasurementResult, after: MeasurementResult, limits: GateOptions) -> GateResult:
    rule = f"at most {limits.perplexity_ratio:.2f} times that before"
    if before.perplexity is None or after.perplexity is None:
        return GateResult(name="perplexity", rule=rule, met=None, reason="not measured")
    ratio = after.perplexity.value / before.perplexity.value
    return GateResult(
        name="perplexity",
        rule=rule,
        met=ratio <= limits.perplexity_ratio,
        reason=f"{ratio:.3f} times that before",
    )


def not_tested(finished: Finished) -> tuple[str, ...]:
    """What this run says nothing about."""
    known = "the one key and behaviour given" if finished.backdoor else "no known key at all"
    sentences = [
        f"Attack success was measured with {known}; other backdoors were not tried.",
        "Whether a backdoor comes back after further fine-tuning was not tested.",
        "Benchmarks of utility were not run; perplexity and degenerate answers stand in for them.",
        _precision(finished.treated.subject),
        _copied(finished.source),
        *finished.treated.limits,
    ]
    if finished.treated.subject.access == "adapter":
        sentences.append("The base model under the adapter was not changed; a backdoor in it stays.")
    return tuple(sentences)


def _precision(subject: Subject) -> str:
    """In which precision the figures were taken, and in which forms of the output they were not."""
    adapter = subject.access == "adapter"
    parameters = list(subject.model.named_parameters())
    measured = _types(value.dtype for name, value in parameters if ".lora_" in name or not adapter)
    stored = _types(tensor.dtype for tensor in source_weights(subject).tensors.values())
    base = _types(value.dtype for name, value in parameters if ".lora_" not in name)
    return (
        f"The weights were measured in {measured}{f', on a base in {base}' if adapter else ''}"
        f"{'' if stored == measured else f', and are stored in {stored}'}; the output in other precisions,"
        f" quantised{' or merged into its base' if adapter else ''} was not tested (evaluate --dtype, --deployed)."
    )


def _types(every: Iterable[torch.dtype]) -> str:
    """The types of floating-point numbers among these, by name."""
    return " and ".join(sorted({str(one).removeprefix("torch.") for one in every if one.is_floating_point}))


def _copied(source: Source) -> str:
    if source.replaced_template is None:
        return "Tokenizer and chat template were copied, not purified."
    return "The tokenizer was copied, not purified; its chat template was replaced by a published one."


def scoring_result(backdoor: Backdoor | None, chat: ChatFormat, options: AskOptions) -> ScoringResult:
    """How answers are made and judged."""
    raw = options.mode == "legacy-raw"
    template, template_sha256 = (RawFormat(chat.tokenizer) if raw else chat).identity.split(":")
    scoring = ScoringResult(
        mode=options.mode,
        template=template,
        template_sha256=template_sha256,
        max_new_tokens=answer_tokens(options, chat, backdoor.behaviour if backdoor else NO_BEHAVIOUR),
    )
    if backdoor is None:
        return scoring
    behaviour = backdoor.behaviour
    loose = raw and behaviour.task is not None
    return scoring.model_copy(
        update={
            "judge": "keywords" if loose else behaviour.judge,
            "judge_version": KEYWORDS_VERSION if loose else None,
            "behaviour": behaviour.name,
            "key": backdoor.key.name,
        }
    )


def source_result(source: Source) -> SourceResult:
    """Where the model came from, without the local folder."""
    base = None if source.base is None else source_result(source.base)
    return SourceResult(reference=source.reference, commit=source.commit, files=dict(source.files), base=base)


def request_json(request: Request) -> dict[str, JsonValue]:
    """What was asked for, as plain JSON values, without the folders above its files."""
    return {name: portable(v) if isinstance(v, str | Path) else v for name, v in asdict(request).items()}


def upstream_of(source: Source) -> Upstream:
    """What the card says of the origin; a local folder is named without the path to it."""
    base = source.base or source
    local = base.commit is None and Path(base.reference).exists()
    path = source.folder / "README.md"
    card = _beginning(path) if path.is_file() else None
    return Upstream(Path(base.reference).resolve().name if local else base.reference, _licence(card), card)


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(CARD_CHARACTERS)


def _licence(card: str | None) -> str | None:
    """The licence that the front matter of a hub model card names: read as text, since the card is not ours."""
    if card is None or not card.startswith("---"):
        return None
    front, _, _ = card[3:].partition("\n---")
    found = _LICENCE.search(front)
    return found["name"] if found else None
