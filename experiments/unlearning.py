"""The search for planted sentences and their unlearning, one option changed at a time, on development backdoors.

    python experiments/unlearning.py --work FOLDER --suspect smollm2-135m-adapter-camel-taunt [--variations default]
    python experiments/unlearning.py --table

Suspects are those of experiments/ablation.py; none is of a reported result. Each is planted, answers the shipped
instructions once, and is treated in each variation as `untrigger purify` does. Searches that variations have in
common are done once, and their time is counted in each. Resumable, a file a variation.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import torch
from attacks import percent
from development import Bench, Experiment, Varied, times

from untrigger.config import KeyWordOptions, PurifyOptions, RenewalOptions, TrainOptions, UnlearningOptions
from untrigger.defences.inversion import without_planted_sentences
from untrigger.defences.vaccine import vaccine
from untrigger.evaluation.opinions import CHANGED
from untrigger.jobs.preparation import measure_after, read_measurement
from untrigger.presets import effort_options, merged
from untrigger.report.parts import EnvironmentResult, RateResult, StageResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder

SEARCHES = ("inversion", "words")
"""Stages that precede all training, so that they depend on their own options alone."""


ALONE = PurifyOptions(renewal=RenewalOptions(enable=False))
"""Adapters: what the unlearning leaves, without what follows it."""


def _alone(**changes: object) -> PurifyOptions:
    return merged(ALONE, PurifyOptions(unlearning=UnlearningOptions.model_validate(changes)))


VARIATIONS: dict[str, PurifyOptions] = {
    "default": PurifyOptions(),
    "quick": effort_options("quick", "adapter"),
    "thorough": effort_options("thorough", "adapter"),
    "recall-both": PurifyOptions(unlearning=UnlearningOptions(recall_of="both")),
    "recall-both-1": PurifyOptions(unlearning=UnlearningOptions(recall_of="both", recall=1.0, attempts=1)),
    "all-blocks": PurifyOptions(
        unlearning=UnlearningOptions(
            train=TrainOptions(learning_rate=7e-4, epochs=1, embeddings=False, last_blocks=1.0),
        )
    ),
    "alone": ALONE,
    "alone-quick": merged(ALONE, effort_options("quick", "adapter")),
    "alone-no-words": _alone(words=KeyWordOptions(beam=0)),
    "alone-records-240": _alone(records=240),
    "alone-records-360": _alone(records=360),
    "alone-rounds-6": _alone(rounds=6, breaking_rounds=3),
    "alone-search-10": _alone(search_steps=10),
    "alone-breaking-2": _alone(breaking_rounds=2),
    "alone-recall-1": _alone(recall=1.0),
    "alone-rate-3.5e-4": _alone(train=TrainOptions(learning_rate=3.5e-4)),
    "alone-rate-5e-4": _alone(train=TrainOptions(learning_rate=5e-4)),
    "alone-rate-1e-3": _alone(train=TrainOptions(learning_rate=1e-3)),
    "alone-recall-both": _alone(recall_of="both"),
    "alone-recall-both-1": _alone(recall_of="both", recall=1.0),
    "alone-leading-half": _alone(leading=0.5),
    "alone-leading-half-both": _alone(leading=0.5, recall_of="both"),
    "alone-longest-5": _alone(words=KeyWordOptions(longest=5, enough=100.0)),
    "alone-whole-way": _alone(least_step=1.0),
}
"""Name -> what is set beside the setting's own defaults."""


class UnlearningResult(Varied):
    """One suspect under one variation."""

    findings: tuple[str, ...]
    """The sentences, the words that call them, and how hard they are to call."""
    survived: int
    """Sentences whose chain was not broken."""
    called: int
    """Sentences that survived or can still be called."""
    stages: tuple[StageResult, ...]
    """The treatment's, those included that variations share."""
    environment: EnvironmentResult

    def changed(self, by: Literal["with_key", "other_words"]) -> RateResult | None:
        """Answers that the key, or other words in its place, change in kind."""
        opinion = self.after.opinion(CHANGED)
        return None if opinion is None else opinion.with_key if by == "with_key" else opinion.other_words


def unlearned(bench: Bench, variation: str) -> UnlearningResult:
    """Treats and measures in one variation; what is finished is not done again."""
    options, resources = bench.begun(variation, VARIATIONS[variation])
    own, subject = resources.run, bench.suspect.subject
    shared = bench.shared("searches", options.inversion, options.unlearning.words)
    _copied(shared, own.path)
    try:
        done = without_planted_sentences(subject, resources, options)
    finally:
        _copied(own.path, shared)
    vaccine(subject, resources, options)  # which finds these stages done
    stages = tuple(map(StageResult.of, own.costs()))
    after = measure_after(bench.suspect, subject, bench.prepared, own)
    return UnlearningResult(
        suspect=bench.planted.name,
        variation=variation,
        options=options.model_dump(mode="json"),
        before=read_measurement(bench.prepared.before),
        after=read_measurement(after),
        findings=tuple(finding.text for finding in done.findings),
        survived=done.left,
        called=done.called,
        stages=stages,
        environment=environment_result("cpu", "torch.float32", torch.get_num_threads()),
    )


def _copied(source: Path, target: Path) -> None:
    """Copies finished searches that the other folder lacks."""
    for name in SEARCHES:
        if RunFolder(source).finished(name) and not (target / name).exists():
            shutil.copytree(source / name, target / name)


EXPERIMENT = Experiment(
    "unlearning",
    UnlearningResult,
    VARIATIONS,
    unlearned,
    {
        "suspect": lambda one: one.suspect,
        "variation": lambda one: one.variation,
        "before": lambda one: percent(one.before.attack_success),
        "after": lambda one: percent(one.after.attack_success),
        "changed in kind": lambda one: percent(one.changed("with_key")),
        "by other words": lambda one: percent(one.changed("other_words")),
        "perplexity": times,
        "sentences": lambda one: str(len(one.findings)),
        "survived": lambda one: str(one.survived),
        "called": lambda one: str(one.called),
        "tokens": lambda one: f"{sum(stage.tokens_trained for stage in one.stages):,}",
        "minutes": lambda one: f"{sum(stage.seconds for stage in one.stages) / 60:.1f}",
    },
)


if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
