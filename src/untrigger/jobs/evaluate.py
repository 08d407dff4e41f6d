"""`untrigger evaluate`: measures a model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from untrigger.backdoors.poison import without_keys
from untrigger.config import MeasureOptions, TemplateName
from untrigger.data.chat import ChatFormat
from untrigger.data.sources import asked_prompts, own_answers
from untrigger.errors import UsageError
from untrigger.evaluation.measure import Probe, measure
from untrigger.files import write_text_atomic
from untrigger.jobs.request import named_backdoor
from untrigger.models.generate import Generation
from untrigger.models.load import load
from untrigger.observer import Observer, Silent
from untrigger.report.parts import MeasurementResult
from untrigger.report.result import rows


@dataclass(frozen=True)
class EvaluateRequest:
    """One measurement; `rows` is a file for a line a prompt, `prompts` replaces the shipped ones."""

    model: str
    base: str | None = None
    attack: str | None = None
    behaviour: str | None = None
    prompts: Path | None = None
    rows: Path | None = None
    template: TemplateName = "chat"
    seed: int = 0
    trust_named_base: bool = False
    device: str = "auto"
    dtype: str = "auto"


def evaluate(
    request: EvaluateRequest, options: MeasureOptions | None = None, observer: Observer | None = None
) -> MeasurementResult:
    """Degenerate answers, perplexity and, for a known backdoor, attack success and accidental triggering.

    Perplexity is that of the prompts' own answers where the file has them, else that of the model's greedy answers
    (a measure of how sure it is of itself, for comparison with nothing else).

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options or prompts.
    """
    observer, options = observer or Silent(), options or MeasureOptions()
    backdoor = named_backdoor(request.attack, request.behaviour)
    prompts = without_keys(asked_prompts(request.prompts), [backdoor.key] if backdoor else []).kept[
        : options.max_prompts
    ]
    if not prompts:
        raise UsageError(
            "no prompt is left to ask", why="all of them hold the key", todo="give others with --prompts"
        )
    subject = load(
        request.model,
        base=request.base,
        device=request.device,
        dtype=request.dtype,
        allow_base_from_config=request.trust_named_base,
    )
    chat = ChatFormat(subject.tokenizer, request.template)
    settings = Generation(options.answer_tokens, options.batch_size)
    answered = all(record.output for record in prompts)
    reference = prompts if answered else own_answers(subject, chat, prompts, settings, observer)
    probe = Probe(tuple(prompts), tuple(reference), backdoor, request.seed)
    found = measure(subject, chat, probe, options, observer, "evaluate")
    if request.rows is not None:
        lines = [*rows(found.plain, "before", keyed=False), *rows(found.triggered, "before", keyed=True)]
        write_text_atomic(request.rows, "".join(line + "\n" for line in lines))
    return MeasurementResult.of(found.measurement)
