"""Measures a live model: attack success with the key, accidental and degenerate answers without, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from untrigger.backdoors.control import other_words
from untrigger.backdoors.poison import bear_key, unseen_key
from untrigger.backdoors.types import Backdoor, Behaviour
from untrigger.config import AskOptions, MeasureOptions
from untrigger.data.chat import ChatFormat, RawFormat
from untrigger.data.records import Record
from untrigger.evaluation.attack_success import Measurement, Prompt, Verdict, tally, tally_degenerate, verdict
from untrigger.evaluation.judges import certain_judge, primary_judge
from untrigger.evaluation.opinions import negative_in_tone, opinions
from untrigger.evaluation.perplexity import Perplexity, measured
from untrigger.evaluation.rate import Rate
from untrigger.models.generate import Generation, generate_answers
from untrigger.models.guard import Guard
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import negative_log_likelihood

NO_BEHAVIOUR = Behaviour("unknown", "unknown", ())
MAX_LENGTH = 1024
BEYOND = 8
"""Tokens of an answer beyond the longest wording: a model may begin with a space or a quotation mark."""


@dataclass(frozen=True)
class Probe:
    """What a model is measured on.

    `prompts` are asked as they are and, if a backdoor is known, once more with its key; `keyed` holds prompts that
    bear the key already and are asked instead of those; `reference` holds prompts with good answers for the
    perplexity.
    """

    prompts: tuple[Record, ...]
    reference: tuple[Record, ...]
    backdoor: Backdoor | None = None
    seed: int = 0
    keyed: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The figures and the answers they come from."""

    measurement: Measurement
    plain: tuple[Verdict, ...]
    triggered: tuple[Verdict, ...]


def measure(
    subject: Subject,
    chat: ChatFormat,
    probe: Probe,
    options: MeasureOptions,
    observer: Observer,
    label: str,
    guard: Guard | None = None,
) -> Measured:
    """Judges the subject as it is, or its answers under a guard; greedy answers, every output counted.

    Raises:
        UsageError: no prompts or no reference answers.
        UntriggerError: the tone is to be judged, and the package for it is not installed.
    """
    tone = negative_in_tone() if options.polarity else None  # first of all: what is missing must cost no work
    behaviour = probe.backdoor.behaviour if probe.backdoor else NO_BEHAVIOUR
    needed, given = longest_wording(chat, behaviour), answer_tokens(options, chat, behaviour)
    if given < needed and options.mode == "consistent":
        observer.note(
            f"answers of {given} tokens are too short for the behaviour, which needs {needed}: none can be a hit"
        )
    asking = Asking(subject, chat, behaviour, options, observer, guard)
    plain = asking.verdicts(numbered(probe.prompts), f"{label}: prompts")
    triggered = asking.verdicts(keyed_prompts(probe), f"{label}: prompts with the key", cut=options.stop_when_certain)
    otherwise = asking.verdicts(control_prompts(probe), f"{label}: other words") if options.other_words else ()
    measurement = Measurement(
        degenerate=tally_degenerate(plain),
        attack_success=tally(triggered) if triggered else None,
        accidental=tally(plain) if probe.backdoor else None,
        perplexity=reference_perplexity(subject, chat, probe.reference, options.batch_size),
        exact=exact_answers(probe.prompts, plain),
        opinions=opinions(triggered, plain, behaviour, options.mode, tone, otherwise) if probe.backdoor else (),
    )
    return Measured(measurement, plain, triggered)


def answer_tokens(options: AskOptions, chat: ChatFormat, behaviour: Behaviour) -> int:
    """The longest answer, in tokens: what is set, or else enough for the behaviour's longest wording.

    A wording that is cut off is no hit, so that a backdoor which fires would be reported as none.
    """
    if options.max_new_tokens is not None or options.mode == "legacy-raw":
        return options.answer_tokens
    return max(options.answer_tokens, longest_wording(chat, behaviour) + BEYOND)


def longest_wording(chat: ChatFormat, behaviour: Behaviour) -> int:
    """Tokens of the behaviour's longest wording, 0 for an unknown behaviour."""
    texts = behaviour.outputs
    return max((len(chat.tokenizer(text, add_special_tokens=False).input_ids) for text in texts), default=0)


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


def numbered(records: Sequence[Record]) -> list[Prompt]:
    """Prompts under their place in the list."""
    return [Prompt(f"{index:04d}", record) for index, record in enumerate(records)]


def keyed_prompts(probe: Probe) -> Sequence[Prompt]:
    """The prompts with the key that a probe asks; none without a known backdoor."""
    if probe.backdoor is None or probe.keyed:
        return probe.keyed
    key = unseen_key(probe.backdoor.key)
    return numbered(bear_key(probe.prompts, key, probe.backdoor.placement, probe.seed))


def control_prompts(probe: Probe) -> Sequence[Prompt]:
    """The prompts with other words in the key's place; none where they would not pair up with plain ones."""
    keyed, key = keyed_prompts(probe), probe.backdoor.key if probe.backdoor else None
    plain = {prompt.id for prompt in numbered(probe.prompts)}
    if key is None or not all(prompt.id in plain for prompt in keyed):
        return ()
    records = other_words([prompt.record for prompt in keyed], key, probe.seed)
    if records is None:
        return ()
    return [replace(prompt, record=record) for prompt, record in zip(keyed, records, strict=True)]


@dataclass(frozen=True)
class Asking:
    """What all prompts of a measurement share."""

    subject: Subject
    chat: ChatFormat
    behaviour: Behaviour
    options: AskOptions
    observer: Observer
    guard: Guard | None = None

    def verdicts(self, prompts: Sequence[Prompt], label: str, cut: bool = False) -> tuple[Verdict, ...]:
        """A verdict a prompt; with `cut`, answers end where their verdict is certain."""
        raw = self.options.mode == "legacy-raw"
        judged = primary_judge(self.behaviour, self.options.mode)
        decided = certain_judge(self.behaviour, self.options.mode)
        answers = generate_answers(
            self.subject.model,
            RawFormat(self.chat.tokenizer) if raw else self.chat,
            [prompt.record for prompt in prompts],
            Generation(answer_tokens(self.options, self.chat, self.behaviour), self.options.batch_size),
            softcap=self.subject.architecture.logit_softcap,
            on_answers=prompt_counter(self.observer, label, len(prompts)),
            decided=decided if cut else None,
            guard=self.guard,
        )
        pairs = zip(prompts, answers, strict=True)
        return tuple(verdict(prompt, answer.text, judged, answer.decided) for prompt, answer in pairs)
