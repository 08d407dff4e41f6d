"""The pairs of a run, each a stage; one whose training diverges is tried once more and then left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from untrigger.config import VariantOptions
from untrigger.defences.interface import Resources
from untrigger.errors import Diverged
from untrigger.models.subject import Subject
from untrigger.observer import Observer
from untrigger.variants import PAIR, TWIN, VariantPlan, plan_variants, train_pair, train_shared_twin

LEFT_OUT = "left-out.txt"
"""Stands in a stage in place of the pair: why there is none."""
FEWEST_PAIRS = 2
"""Alignment compares pairs, so that one pair has none."""
_TWIN_STAGE, _PAIR_STAGES = "twin", "pair-"
_NEXT_SEED = 500
"""Added to a plan's seed for the second try; plans of one run differ by less than a hundred."""


@dataclass(frozen=True)
class Pairs:
    """The files of the trained pairs, and a sentence for each that is missing."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def trained_pairs(subject: Subject, resources: Resources, options: VariantOptions) -> Pairs:
    """Trains every pair that the run folder does not hold yet; the subject's weights are moved.

    Raises:
        UsageError: too few clean records or synthetic keys.
        Diverged: fewer than two pairs could be trained, or not the twin that they share.
        Interrupted, OutOfMemory: from the trainings.
    """
    plans = plan_variants(resources.clean, options, resources.seed)
    twin = _shared_twin(subject, resources, plans[0], options) if options.twin == "shared" else None
    folders = [
        resources.run.stage(
            f"{_PAIR_STAGES}{index:02d}",
            _Pair(subject, resources, plan, options, f"pair {index} of {len(plans)}", twin).build,
        )
        for index, plan in enumerate(plans, start=1)
    ]
    files = tuple(folder / PAIR for folder in folders if (folder / PAIR).exists())
    left_out = tuple(
        (folder / LEFT_OUT).read_text(encoding="utf-8") for folder in folders if (folder / LEFT_OUT).exists()
    )
    if len(files) < FEWEST_PAIRS:
        raise Diverged(
            f"{len(files)} of {len(plans)} pairs could be trained, {FEWEST_PAIRS} are needed",
            why=left_out[0],
            todo="lower --variants.train.learning-rate",
        )
    return Pairs(files, left_out)


def pair_stages(run: Path) -> list[Path]:
    """The folders of the pairs, and of the twin that they share, that are finished in a run folder."""
    return [folder for folder in (*run.glob(_TWIN_STAGE), *run.glob(f"{_PAIR_STAGES}*")) if not folder.suffix]


def _shared_twin(subject: Subject, resources: Resources, plan: VariantPlan, options: VariantOptions) -> Path:
    def build(work: Path) -> int:
        def train(plan: VariantPlan) -> int:
            given = (subject, resources.chat, plan, options)
            return train_shared_twin(*given, start=resources.start, work=work, observer=resources.observer)

        return _tried_twice(train, plan, work, "the clean twin of all pairs", resources.observer)

    return resources.run.stage(_TWIN_STAGE, build) / TWIN


def _tried_twice(
    train: Callable[[VariantPlan], int], plan: VariantPlan, work: Path, label: str, observer: Observer
) -> int:
    """Trains by a plan, and if that diverges once more with another seed."""
    try:
        return train(plan)
    except Diverged as error:
        observer.note(f"{label} diverged ({error.what}): once more with another seed")
    shutil.rmtree(work / "scratch")
    (work / "scratch").mkdir()
    return train(replace(plan, seed=plan.seed + _NEXT_SEED))


@dataclass(frozen=True)
class _Pair:
    """One pair that is to be trained."""

    subject: Subject
    resources: Resources
    plan: VariantPlan
    options: VariantOptions
    label: str
    twin: Path | None

    def build(self, work: Path) -> int:
        """Writes the pair, or why there is none; returns the tokens trained on."""
        observer = self.resources.observer
        try:
            return _tried_twice(lambda plan: self._train(plan, work), self.plan, work, self.label, observer)
        except Diverged as error:
            why = f"P{self.label[1:]} diverged with two seeds and was left out ({error.what})."
            observer.note(why)
            (work / LEFT_OUT).write_text(why, encoding="utf-8")
            return 0

    def _train(self, plan: VariantPlan, work: Path) -> int:
        return train_pair(
            self.subject,
            self.resources.chat,
            plan,
            self.options,
            start=self.resources.start,
            work=work,
            label=self.label,
            observer=self.resources.observer,
            twin=self.twin,
        )
