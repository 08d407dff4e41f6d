"""The stages of a titration: canaries planted in a copy, and strengths tried on it until they are dead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from untrigger.backdoors.poison import bear_key
from untrigger.backdoors.types import Behaviour
from untrigger.config import PurifyOptions
from untrigger.data.records import Record
from untrigger.defences.interface import Resources
from untrigger.defences.phases import suspect_again, trained
from untrigger.defences.suppression import suppressed
from untrigger.errors import UntriggerError
from untrigger.evaluation.attack_success import Verdict, tally
from untrigger.evaluation.measure import Asking, numbered, reference_perplexity
from untrigger.evaluation.rate import Rate
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.observer import training_hooks
from untrigger.report.document import parsed
from untrigger.report.parts import RateResult, RungResult, TitreResult
from untrigger.runs import RunFolder
from untrigger.signature.select import ScoreTable, choose
from untrigger.titration import (
    LADDERS,
    CleanRecords,
    SetApart,
    Strength,
    canary_records,
    divided,
    first_that_holds,
    set_apart,
)
from untrigger.treatment import fine_tune

RUNG, PLANTED = "rung.json", "planted.json"
FEWEST_PLANTED = 0.5


@dataclass(frozen=True)
class Titration:
    """A subject with canaries to try strengths on; `resources` hold the treatment's records alone."""

    subject: Subject
    resources: Resources
    options: PurifyOptions
    records: CleanRecords
    apart: SetApart

    @classmethod
    def of(cls, subject: Subject, resources: Resources, options: PurifyOptions) -> Titration:
        """Sets records, families and kinds of key apart.

        Raises:
            UsageError: too few of any.
        """
        records = divided(resources.clean, options.titration)
        apart = set_apart(resources.clean, options.titration, options.variants, resources.seed)
        narrowed = options.model_copy(update={"variants": apart.drawn})
        return cls(subject, replace(resources, clean=records.treatment), narrowed, records, apart)

    def titre(self, table: ScoreTable) -> TitreResult:
        """Plants the canaries and tries the setting's strengths from the weakest on, until one meets the target.

        Raises:
            UntriggerError: the canaries did not take.
            Interrupted, Diverged, OutOfMemory: from the trainings.
        """
        start = self.planted()
        before = self.planted_rate(start)
        target, rungs = self.options.titration.target, list[RungResult]()
        for number, strength in enumerate(LADDERS[self.subject.access], start=1):
            folder = self.resources.run.stage(f"rung-{number}", self._rung(start, table, strength))
            rungs.append(parsed(RungResult, RUNG, (folder / RUNG).read_text()))
            self.resources.observer.note(_said(strength, rungs[-1]))
            if rungs[-1].worst <= target:
                break
        return TitreResult(
            canaries=tuple(canary.name for canary in self.apart.canaries),
            planted=before,
            target=target,
            rungs=tuple(rungs),
            chosen=first_that_holds([rung.worst for rung in rungs], target),
        )

    def planted(self) -> Path:
        """The weights of the copy that holds the canaries."""
        own = self.options.titration
        records = canary_records(self.records.treatment, self.apart.canaries, own, self.resources.seed)
        return trained(
            self.subject,
            self.resources,
            "canaries",
            records,
            own.train,
            prepare=suspect_again(self.subject, self.resources),
        )

    def planted_rate(self, start: Path) -> RateResult:
        """How far the canaries took.

        Raises:
            UntriggerError: on less than half of the prompts.
        """

        def build(work: Path) -> int:
            restore_weights(self.subject, start)
            (work / PLANTED).write_text(RateResult.of(self.survival("canaries")).model_dump_json())
            return 0

        folder = self.resources.run.stage("canaries-planted", build)
        rate = parsed(RateResult, PLANTED, (folder / PLANTED).read_text())
        if rate.value < FEWEST_PLANTED:
            raise UntriggerError(
                f"the canaries are obeyed on {rate.hits} of {rate.n} prompts",
                why="what was not planted cannot be seen to die",
                todo="raise --titration.train.learning-rate or --titration.train.epochs, or leave the titration out",
            )
        return rate

    def treat(
        self, start: Path, table: ScoreTable, options: PurifyOptions, run: RunFolder, *, repair: bool = True
    ) -> None:
        """Leaves the subject as what lies in `start`, the copy or the suspect, treated; the stages go to `run`."""
        signature = choose(table, self.subject.architecture, options.signature)
        resources = replace(self.resources, run=run, start=start)
        suppressed(self.subject, resources, options, signature, repair=repair)

    def survival(self, label: str) -> Rate:
        """Prompts with a canary's key that the subject, as it stands, answers with the canary's behaviour."""
        hits = n = invalid = 0
        for number, canary in enumerate(self.apart.canaries):
            keyed = bear_key(self.records.asked, canary.key, canary.placement, self.resources.seed + number)
            rate = tally(self._verdicts(canary.behaviour, keyed, label))
            hits, n, invalid = hits + rate.hits, n + rate.n, invalid + rate.invalid
        return Rate(hits, n, invalid)

    def _verdicts(self, behaviour: Behaviour, keyed: Sequence[Record], label: str) -> Sequence[Verdict]:
        chat, observer = self.resources.chat, self.resources.observer
        asking = Asking(self.subject, chat, behaviour, self.options.measure, observer)
        return asking.verdicts(numbered(keyed), f"{label}: {behaviour.name}", cut=True)

    def perplexity(self) -> float:
        """Perplexity of the clean answers that were set apart."""
        size = self.options.measure.batch_size
        return reference_perplexity(self.subject, self.resources.chat, self.records.asked, size).value

    def relearn(self) -> None:
        """A short clean fine-tuning of the subject as it stands."""
        fine_tune(
            self.subject,
            self.resources.chat,
            self.records.relearning,
            self.options.titration.relearning,
            seed=self.resources.seed,
            frozen={},
            penalty=None,
            hooks=training_hooks(self.resources.observer, "re-learning", None),
        )

    def _rung(self, start: Path, table: ScoreTable, strength: Strength) -> Callable[[Path], int]:
        def build(work: Path) -> int:
            run = RunFolder(work / "scratch" / "run")
            restore_weights(self.subject, start)
            before = self.perplexity()
            self.treat(start, table, strength.applied(self.options), run)
            ratio, survival = self.perplexity() / before, self.survival("treated")
            self.relearn()
            rung = RungResult(
                ratio=strength.ratio,
                remainder=strength.remainder,
                survival=RateResult.of(survival),
                relearned=RateResult.of(self.survival("re-learned")),
                perplexity_ratio=ratio,
            )
            (work / RUNG).write_text(rung.model_dump_json(indent=1))
            return sum(stage.tokens for stage in run.costs())

        return build


def _said(strength: Strength, rung: RungResult) -> str:
    return (
        f"ratio {strength.ratio:g}, rest times {strength.remainder:g}:"
        f" {rung.survival.value:.0%} of the canaries' prompts, {rung.relearned.value:.0%} after re-learning;"
        f" perplexity times {rung.perplexity_ratio:.2f}"
    )
