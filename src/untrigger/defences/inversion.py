"""The stage of target inversion, and what is told of the sentences it finds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from untrigger.config import InversionOptions, KeyWordOptions, PurifyOptions
from untrigger.defences.interface import Resources
from untrigger.defences.least_step import Step, Strength, Way, least_step
from untrigger.defences.unlearning import unlearned
from untrigger.inversion.key_words import KeyWords, call_told, words_that_call
from untrigger.inversion.planted import planted_sentences
from untrigger.inversion.targets import Target
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.models.untrusted.finding import Finding

TARGETS, WORDS = "targets.json", "words.json"
_LEFT = "{} of {} planted sentences survived their unlearning; more --unlearning.attempts may help"
_CALLED = "{} of {} planted sentences can still be called; more --unlearning.attempts may help"
_UNCALLED = (
    "No words were found that call any of the sentences that were unlearned; they may be stock phrases, or near what"
    " was planted, and not the planted ones."
)
_FIXED = "Planted sentences were looked for by their fixed wording; a behaviour whose wording varies is not found so."


@dataclass(frozen=True)
class Unlearned:
    """Sentences that were found, and resources whose start is the suspect without them."""

    targets: tuple[Target, ...]
    resources: Resources
    findings: tuple[Finding, ...] = ()
    """What was found, and how hard each sentence is to call now."""
    found: tuple[Finding, ...] = ()
    """The same without what the unlearning did."""
    left: int = 0
    """How many of them survived."""
    called: int = 0
    """How many of them survived or can still be called by a key that is found."""
    by_words: bool = True
    """Whether words were found that call one of them; true if there is none to call, or no words were looked for."""

    @property
    def settled(self) -> bool:
        """Whether sentences were found, words call one of them as far as was looked, and none can be called now."""
        return bool(self.targets) and self.by_words and not self.called

    @property
    def discarded(self) -> Unlearned:
        """What is told where the weights that the unlearning left are not used."""
        return replace(self, findings=self.found, left=0, called=0)

    @property
    def limits(self) -> tuple[str, ...]:
        """What the search and the unlearning leave open."""
        told = [_FIXED] if self.by_words else [_FIXED, _UNCALLED]
        if self.called > self.left:
            told.append(_CALLED.format(self.called, len(self.targets)))
        return (*told, _LEFT.format(self.left, len(self.targets))) if self.left else tuple(told)


def without_planted_sentences(subject: Subject, resources: Resources, options: PurifyOptions) -> Unlearned:
    """Looks for sentences that the suspect completes whatever it is asked, and unlearns them; each is a stage.

    Raises:
        UsageError: too few clean records.
        Interrupted, Diverged, OutOfMemory: from search and training.
    """
    targets = inversion_stage(subject, resources, options.inversion)
    told = {target: target.told(subject.tokenizer) for target in targets}
    for text in told.values():
        resources.observer.note(f"answers: {text}")
    words = key_words_stage(subject, resources, targets, options.unlearning.words)
    called_by = {target: call_told(words[target], subject.tokenizer) for target in targets}
    wanted = tuple(sorted(targets, key=lambda target: not words[target]))  # the forms that are said come first
    found, left = resources, 0
    first: dict[Target, Strength] = {}
    for attempt in range(options.unlearning.attempts):
        if not wanted:
            break
        step = _attempt(
            subject, found, {target: words[target] for target in wanted}, options, attempt, resources.start
        )
        for target, strength in zip(wanted, step.strengths, strict=True):
            if strength is None:
                continue
            whole = replace(first.setdefault(target, strength), after=strength.after)
            strongest = f"{called_by[target]}; {whole.told}"
            told[target] = f"{target.told(subject.tokenizer)}{strongest}"
            resources.observer.note(f"{target.text(subject.tokenizer)!r}{strongest}")
        found, left = replace(found, start=step.weights), sum(step.left)
        wanted = tuple(target for target, enough in zip(wanted, step.enough, strict=True) if not enough)
    if left:
        resources.observer.note(_LEFT.format(left, len(targets)))
    by_words = not (targets and options.unlearning.words.beam) or any(called_by.values())
    before = [f"{target.told(subject.tokenizer)}{called_by[target]}" for target in targets]
    return Unlearned(targets, found, _findings(told.values()), _findings(before), left, len(wanted), by_words)


def sentences_told(subject: Subject, resources: Resources, options: PurifyOptions) -> tuple[Finding, ...]:
    """Looks for sentences and words that call them, which are told and not unlearned; each is a stage.

    Raises:
        UsageError: too few clean records.
        Interrupted, OutOfMemory: from the search.
    """
    targets = inversion_stage(subject, resources, options.inversion)
    words = key_words_stage(subject, resources, targets, options.unlearning.words)
    tokenizer = subject.tokenizer
    told = [target.told(tokenizer) + call_told(words[target], tokenizer) for target in targets]
    for text in told:
        resources.observer.note(f"answers: {text}")
    return _findings(told)


def _findings(texts: Iterable[str]) -> tuple[Finding, ...]:
    return tuple(Finding("planted-sentence", "answers", text) for text in texts)


def _attempt(
    subject: Subject,
    resources: Resources,
    targets: Mapping[Target, Sequence[KeyWords]],
    options: PurifyOptions,
    attempt: int,
    suspect: Path,
) -> Step:
    """The unlearning at twice the rate of the attempt before, and the part of it that suffices."""
    train = options.unlearning.train
    faster = train.model_copy(update={"learning_rate": 2**attempt * train.learning_rate})
    unlearning = options.unlearning.model_copy(update={"train": faster})
    known = [words for some in targets.values() for words in some if words.log_odds > 0]
    after = unlearned(subject, resources, tuple(targets), unlearning, f"unlearning-{attempt + 1}", known)
    return least_step(subject, resources, targets, options, Way(suspect, after, f"step-{attempt + 1}"))


def key_words_stage(
    subject: Subject, resources: Resources, targets: Sequence[Target], options: KeyWordOptions
) -> dict[Target, list[KeyWords]]:
    """Words that call each of the sentences, a stage where there are any; see `words_that_call`.

    Raises:
        OutOfMemory, Interrupted: from the search.
    """
    if not targets:
        return {}

    def search(work: Path) -> int:
        restore_weights(subject, resources.start)
        chat, clean, observer = resources.chat, resources.clean, resources.observer
        found = words_that_call(subject, chat, clean, targets, options, observer, seed=str(resources.seed))
        (work / WORDS).write_text(
            json.dumps([[asdict(one) for one in found[target]] for target in targets], indent=1)
        )
        return 0

    stored = json.loads((resources.run.stage("words", search) / WORDS).read_text(encoding="utf-8"))
    words = [[KeyWords(**{**one, "tokens": tuple(one["tokens"])}) for one in some] for some in stored]
    return dict(zip(targets, words, strict=True))


def inversion_stage(subject: Subject, resources: Resources, options: InversionOptions) -> tuple[Target, ...]:
    """The sentences that the suspect completes whatever it is asked, the most certain first.

    Raises:
        UsageError: too few clean records.
        OutOfMemory, Interrupted: from the search.
    """

    def search(work: Path) -> int:
        restore_weights(subject, resources.start)
        found = planted_sentences(subject, resources.chat, resources.clean, options, resources.observer)
        (work / TARGETS).write_text(json.dumps([asdict(target) for target in found], indent=1))
        return 0

    stored = json.loads((resources.run.stage("inversion", search) / TARGETS).read_text(encoding="utf-8"))
    return tuple(Target(**{**one, "tokens": tuple(one["tokens"])}) for one in stored)
