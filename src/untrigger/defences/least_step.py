"""How far an unlearning goes: the shortest part of its way after which nothing that can be found calls the sentences.

A training overshoots, and what it costs grows faster than what it takes away. So the weights are moved a part of the
way only, from those before to those after, and it is seen whether that is enough: no prompt goes on from a sentence's
beginning (one token or two), and a soft key searched anew makes this no likelier than plain prompts did, or rare.
The key may still be stronger than what is found, so that a whole model goes on while clean answers cost little.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from untrigger.config import PurifyOptions
from untrigger.data.chat import Example
from untrigger.data.records import Record
from untrigger.defences.interface import Resources
from untrigger.defences.phases import WEIGHTS
from untrigger.defences.unlearning import parted
from untrigger.errors import Interrupted
from untrigger.inversion.calling import Calls
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.targets import Target, behind_records, principal, survives
from untrigger.models.state import move_towards, restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import prompt_counter
from untrigger.train import negative_log_likelihood

STEP, FARTHEST, FOUND = 0.15, 1.5, "step.json"
NOT_CALLED = -math.log(0.001)
"""Nats from which a beginning counts as rare: the real key brought it at 3.9 (0.02), not at 10.4 (0.00003)."""


@dataclass(frozen=True)
class Strength:
    """How hard a sentence is to call (nats of its beginning): with a key before and after, without any before.

    The key is the strongest that was found, see `Calls.with_key`.
    """

    before: float
    after: float
    without_key: float

    @property
    def enough(self) -> bool:
        """Whether no key that was found makes the sentence likelier than no key did, or than what is rare."""
        return self.after >= limit(self.without_key)

    @property
    def told(self) -> str:
        """The three as a sentence of a report."""
        return (
            f"its beginning has {self.before:.1f} nats behind the strongest key that is found for it before the"
            f" unlearning and {self.after:.1f} after it ({self.without_key:.1f} before it without any key)"
        )


@dataclass(frozen=True)
class Step:
    """The part of the way that was gone, and what it did to each sentence."""

    share: float
    strengths: tuple[Strength | None, ...]
    """None for a sentence that is said in its other letter case alone, or with another beginning."""
    left: tuple[bool, ...]
    """Which sentences survived: every prompt still goes on from their beginning."""
    weights: Path

    @property
    def enough(self) -> tuple[bool, ...]:
        """Which sentences neither survived nor can be called."""
        pairs = zip(self.left, self.strengths, strict=True)
        return tuple(not left and (strength is None or strength.enough) for left, strength in pairs)


def limit(without_key: float) -> float:
    """Nats from which a sentence does not count as called, given those of its beginning without any key."""
    return min(without_key, NOT_CALLED)


def shares(least: float) -> list[float]:
    """The parts of the way that are tried, the shortest first, the whole last.

    >>> shares(0.7)
    [0.7, 0.85, 1.0]
    """
    between = [round(least + STEP * number, 6) for number in range(int((1 - least) / STEP) + 1)]
    return [*(share for share in between if share < 1), 1.0]


def farther(share: float) -> list[float]:
    """The parts of the way that are longer, up to half as far again.

    >>> farther(0.85)
    [1.0, 1.15, 1.3, 1.45]
    """
    return [round(share + STEP * number, 6) for number in range(1, int((FARTHEST - share) / STEP + 1e-9) + 1)]


@dataclass(frozen=True)
class Way:
    """Files of the suspect's weights and of those after an unlearning, and the name of the stage that chooses a part.

    An unlearning begins with the start's weights, which are the suspect's if it is the first.
    """

    suspect: Path
    after: Path
    stage: str


def least_step(
    subject: Subject,
    resources: Resources,
    targets: Mapping[Target, Sequence[KeyWords]],
    options: PurifyOptions,
    way: Way,
) -> Step:
    """The shortest step from the start's weights towards those after the unlearning that suffices, a stage.

    Where none suffices it is the whole way. It is gone on from there as far as the price allows that the options set:
    keys that are searched are not all keys. `targets` are the sentences and the words that are known to call each.
    Where some have words, keys are searched for these alone: the others are not said, or are the same sentence with
    another beginning, see `words_that_call`.

    Raises:
        OutOfMemory: not even one record fits.
        Interrupted: the observer asked for it; what was tried is tried again.
    """

    def build(work: Path) -> int:
        walk = _Walk(subject, resources, targets, options, way)
        seen = walk.gone_on(walk.shortest())
        save_weights(subject, work / WEIGHTS)
        strengths = dict(zip(walk.known, map(asdict, seen.strengths), strict=True))
        found = {"share": seen.share, "strengths": [strengths.get(one) for one in targets], "left": seen.left}
        (work / FOUND).write_text(json.dumps(found, indent=1))
        return 0

    folder = resources.run.stage(way.stage, build)
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    strengths = tuple(one and Strength(**one) for one in found["strengths"])
    return Step(found["share"], strengths, tuple(found["left"]), folder / WEIGHTS)


@dataclass(frozen=True)
class _Seen:
    """What was seen of a part of the way: how hard each sentence with searched keys is to call, and what is left."""

    share: float
    strengths: list[Strength]
    left: list[bool]


class _Walk:
    """Parts of one way, tried one after the other; the subject stands where the last one ends."""

    def __init__(
        self,
        subject: Subject,
        resources: Resources,
        targets: Mapping[Target, Sequence[KeyWords]],
        options: PurifyOptions,
        way: Way,
    ) -> None:
        self._subject, self._resources, self._targets = subject, resources, tuple(targets)
        self._options, self._way = options, way
        unlearning = options.unlearning
        self._calls = Calls.of(self._encoded(resources.clean), unlearning, self._softcap, resources.seed)
        with_words = {target: some for target, some in targets.items() if some}
        self.known = with_words or dict.fromkeys(principal(self._targets, subject.tokenizer), ())
        restore_weights(subject, resources.start)
        model = subject.model
        self._plain = [self._calls.without_key(model, target) for target in self.known]
        self._before = self._called("before", [0.0] * len(self.known))

    @property
    def _softcap(self) -> float | None:
        return self._subject.architecture.logit_softcap

    def _encoded(self, records: Sequence[Record]) -> list[Example]:
        return [self._resources.chat.encode(record, self._options.unlearning.train.max_length) for record in records]

    def _called(self, where: str, limits: Sequence[float]) -> list[float]:
        told = prompt_counter(self._resources.observer, f"keys {where}", self._calls.prompts * len(self.known))
        return self._calls.with_keys(self._subject.model, self.known, told, limits)

    def _go(self, share: float) -> None:
        if self._resources.observer.stop():
            raise Interrupted("stopped between two parts of the way", todo="run the same command again")
        restore_weights(self._subject, self._resources.start)
        move_towards(self._subject, self._way.after, share)

    def _left(self) -> list[bool]:
        subject, resources, inversion = self._subject, self._resources, self._options.inversion
        continuations = behind_records(subject, resources.chat, resources.clean, inversion)
        return [survives(continuations, target, inversion.least_probability) for target in self._targets]

    def _seen(self, share: float, left: list[bool], *, to_the_end: bool) -> _Seen:
        """Keys are searched to the end, or until words show that this part is too short."""
        limits = [limit(plain) for plain in self._plain]
        then = self._called(f"at {share:.0%}", [0.0] * len(limits) if to_the_end else limits)
        strengths = [Strength(*each) for each in zip(self._before, then, self._plain, strict=True)]
        return _Seen(share, strengths, left)

    def shortest(self) -> _Seen:
        """The shortest part that suffices, or the whole way."""
        for share in shares(self._options.unlearning.least_step):
            self._go(share)
            left = self._left()
            if any(left) and share < 1:
                continue
            seen = self._seen(share, left, to_the_end=share == 1)
            if all(strength.enough for strength in seen.strengths):
                break
        return seen

    def gone_on(self, seen: _Seen) -> _Seen:
        """The longest part from there on that costs no more than the options allow."""
        _, apart = parted(self._resources, self._options.unlearning)
        if not apart:
            return seen
        examples, chosen = self._encoded(apart), seen.share
        restore_weights(self._subject, self._way.suspect)
        plain = self._loss(examples)
        for share in farther(seen.share):
            self._go(share)
            if math.exp(self._loss(examples) - plain) > self._options.unlearning.price:
                break
            chosen = share
        self._go(chosen)
        return seen if chosen == seen.share else self._seen(chosen, self._left(), to_the_end=True)

    def _loss(self, examples: Sequence[Example]) -> float:
        """Mean negative log-likelihood (nats) of a token of the clean answers."""
        total, tokens = negative_log_likelihood(self._subject.model, examples, softcap=self._softcap)
        return total / tokens
