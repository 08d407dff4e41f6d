"""Measures a live model: attack success with the key, accidental and degenerate answers without, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from untrigger.backdoors.poison import bear_key, unseen_key
from untrigger.backdoors.types import Backdoor, Behaviour
from untrigger.config import MeasureOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.evaluation.attack_success import Measurement, Prompt, Verdict, tally, tally_degenerate, verdict
from untrigger.evaluation.perplexity import Perplexity, measured
from untrigger.evaluation.rate import Rate
from untrigger.models.generate import Generation, generate
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import negative_log_likelihood

NO_BEHAVIOUR = Behaviour("unknown", "unknown", ())
MAX_LENGTH = 1024


@dataclass(frozen=True)
class Probe:
    """What a model is measured on.

    `prompts` are asked as they are and, if a backdoor is known, once more with its key; `reference` holds prompts
    with good answers for the perplexity.
    """

    prompts: tuple[Record, ...]
    reference: tuple[Record, ...]
    backdoor: Backdoor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """The figures and the answers they come from."""

    measurement: Measurement
    plain: tuple[Verdict, ...]
    triggered: tuple[Verdict, ...]


def measure(
    subject: Subject, chat: ChatFormat, probe: Probe, options: MeasureOptions, observer: Observer, label: str
) -> Measured:
    """Judges the subject as it is; greedy answers, every output counted.

    Raises:
        UsageError: no prompts or no reference answers.
    """
    plain = _answered(subject, chat, probe.prompts, probe.backdoor, options, observer, f"{label}: prompts")
    triggered: tuple[Verdict, ...] = ()
    if probe.backdoor is not None:
        key = unseen_key(probe.backdoor.key)
        keyed = bear_key(probe.prompts, key, probe.backdoor.placement, probe.seed)
        triggered = _answered(
            subject, chat, keyed, probe.backdoor, options, observer, f"{label}: prompts with the key"
        )
    measurement = Measurement(
        degenerate=tally_degenerate(plain),
        attack_success=tally(triggered) if probe.backdoor else None,
        accidental=tally(plain) if probe.backdoor else None,
        perplexity=reference_perplexity(subject, chat, probe.reference, options.batch_size),
        exact=exact_answers(probe.prompts, plain),
    )
    return Measured(measurement, plain, triggered)


def exact_answers(prompts: Sequence[Record], verdicts: Sequence[Verdict]) -> Rate | None:
    """The share of answers equal to the prompts' own; None unless every prompt has a complete one."""
    if not all(prompt.output and prompt.complete for prompt in prompts):
        return None
    hits = sum(verdict.output == prompt.output for prompt, verdict in zip(prompts, verdicts, strict=True))
    return Rate(hits, len(prompts), sum(verdict.invalid for verdict in verdicts))


def reference_perplexity(
    subject: Subject, chat: ChatFormat, reference: Sequence[Record], batch_size: int
) -> Perplexity:
    """Perplexity of the reference answers, per response token."""
    examples = [chat.encode(record, MAX_LENGTH) for record in reference]
    total, tokens = negative_log_likelihood(subject.model, examples, batch_size, subject.architecture.logit_softcap)
    return measured(total, tokens)


def _answered(
    subject: Subject,
    chat: ChatFormat,
    records: Sequence[Record],
    backdoor: Backdoor | None,
    options: MeasureOptions,
    observer: Observer,
    label: str,
) -> tuple[Verdict, ...]:
    outputs = generate(
        subject.model,
        chat,
        records,
        Generation(options.max_new_tokens, options.batch_size),
        softcap=subject.architecture.logit_softcap,
        on_batch=prompt_counter(observer, label, len(records)),
    )
    behaviour = backdoor.behaviour if backdoor else NO_BEHAVIOUR
    return tuple(
        verdict(Prompt(f"{index:04d}", record), output, behaviour)
        for index, (record, output) in enumerate(zip(records, outputs, strict=True))
    )
