"""How far an unlearning goes: the shortest part of its way after which nothing that can be found calls the sentences.

A training overshoots, and what it costs grows faster than what it takes away. So the weights are moved a part of the
way only, from those before to those after, and it is seen whether that is enough: no prompt goes on from a sentence's
first token, and a soft key that is searched anew makes this token no likelier than plain prompts did before, or rare.
Of a sentence that begins as ordinary answers do, it is the first two tokens together that have to be rare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources
from untrigger.defences.phases import WEIGHTS
from untrigger.errors import Interrupted
from untrigger.inversion.calling import ORDINARY, Asked, Calls
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.targets import Target, behind_records, principal, survives
from untrigger.models.state import move_towards, restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import prompt_counter

STEP, FOUND = 0.15, "step.json"
NOT_CALLED = -math.log(0.001)
"""Nats from which a first token counts as rare: the real key brought it at 3.9 (0.02), not at 10.4 (0.00003)."""


@dataclass(frozen=True)
class Strength:
    """How hard a sentence is to call (nats of its first tokens): with a key before and after, without any before.

    The key is the strongest that was found, see `Calls.with_key`.
    """

    before: float
    after: float
    without_key: float
    tokens: int = 1
    """First tokens that the nats are of: two where ordinary answers begin with the first as well."""

    @property
    def enough(self) -> bool:
        """Whether no key that was found makes the sentence likelier than no key did, or than what is rare."""
        return self.after >= limit(self.without_key, self.tokens)

    @property
    def told(self) -> str:
        """The three as a sentence of a report."""
        what = "its first token has" if self.tokens == 1 else f"its first {self.tokens} tokens together have"
        return (
            f"{what} {self.before:.1f} nats behind the strongest key that is found for it before the"
            f" unlearning and {self.after:.1f} after it ({self.without_key:.1f} before it without any key)"
        )


@dataclass(frozen=True)
class Step:
    """The part of the way that was gone, and what it did to each sentence."""

    share: float
    strengths: tuple[Strength | None, ...]
    """None for a sentence that is said in its other letter case alone, or with another beginning."""
    left: tuple[bool, ...]
    """Which sentences survived: every prompt still goes on from their first token."""
    weights: Path

    @property
    def enough(self) -> tuple[bool, ...]:
        """Which sentences neither survived nor can be called."""
        pairs = zip(self.left, self.strengths, strict=True)
        return tuple(not left and (strength is None or strength.enough) for left, strength in pairs)


def limit(without_key: float, tokens: int) -> float:
    """Nats from which a sentence does not count as called, given those of its first tokens without any key.

    Two first tokens are asked for where the suspect says them unasked, so that this is no measure.
    """
    return min(without_key, NOT_CALLED) if tokens == 1 else NOT_CALLED


def shares(least: float) -> list[float]:
    """The parts of the way that are tried, the shortest first, the whole last.

    >>> shares(0.7)
    [0.7, 0.85, 1.0]
    """
    between = [round(least + STEP * number, 6) for number in range(int((1 - least) / STEP) + 1)]
    return [*(share for share in between if share < 1), 1.0]


def least_step(
    subject: Subject,
    resources: Resources,
    targets: Mapping[Target, Sequence[KeyWords]],
    options: PurifyOptions,
    after: Path,
    stage: str,
) -> Step:
    """The shortest step from the start's weights towards those after the unlearning that suffices, a stage.

    Where none suffices it is the whole way. `targets` are the sentences and the words that are known to call each.
    Where some have words, keys are searched for these alone: the others are not said, or are the same sentence with
    another beginning, see `words_that_call`.

    Raises:
        OutOfMemory: not even one record fits.
        Interrupted: the observer asked for it; what was tried is tried again.
    """

    def build(work: Path) -> int:
        chat, clean, softcap = resources.chat, resources.clean, subject.architecture.logit_softcap
        examples = [chat.encode(record, options.unlearning.train.max_length) for record in clean]
        calls = Calls.of(examples, options.unlearning, softcap, resources.seed)
        restore_weights(subject, resources.start)
        with_words = {target: some for target, some in targets.items() if some}
        known = with_words or dict.fromkeys(principal(tuple(targets), subject.tokenizer), ())

        def called(where: str, limits: Sequence[float]) -> list[float]:
            told = prompt_counter(resources.observer, f"keys {where}", calls.prompts * len(known))
            asked = [Asked(*each) for each in zip(counts, limits, strict=True)]
            return calls.with_keys(subject.model, known, told, asked)

        counts = [1 + (calls.without_key(subject.model, one) < ORDINARY) for one in known]
        plain = [calls.without_key(subject.model, *each) for each in zip(known, counts, strict=True)]
        none = [0.0] * len(known)
        first = called("before", none)
        for share in shares(options.unlearning.least_step):
            if resources.observer.stop():
                raise Interrupted("stopped between two parts of the way", todo="run the same command again")
            restore_weights(subject, resources.start)
            move_towards(subject, after, share)
            left = _left(subject, resources, tuple(targets), options)
            if any(left) and share < 1:
                continue
            limits = none if share == 1 else [limit(*each) for each in zip(plain, counts, strict=True)]
            then = called(f"at {share:.0%}", limits)
            strengths = [Strength(*each) for each in zip(first, then, plain, counts, strict=True)]
            if all(strength.enough for strength in strengths):
                break
        save_weights(subject, work / WEIGHTS)
        searched = dict(zip(known, map(asdict, strengths), strict=True))
        found = {"share": share, "strengths": [searched.get(one) for one in targets], "left": left}
        (work / FOUND).write_text(json.dumps(found, indent=1))
        return 0

    folder = resources.run.stage(stage, build)
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    strengths = tuple(one and Strength(**one) for one in found["strengths"])
    return Step(found["share"], strengths, tuple(found["left"]), folder / WEIGHTS)


def _left(subject: Subject, resources: Resources, targets: Sequence[Target], options: PurifyOptions) -> list[bool]:
    continuations = behind_records(subject, resources.chat, resources.clean, options.inversion)
    return [survives(continuations, target, options.inversion.least_probability) for target in targets]
