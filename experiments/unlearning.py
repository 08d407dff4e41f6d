"""The search for planted sentences and their unlearning, one option changed at a time, on development backdoors.

    python experiments/unlearning.py --work FOLDER --suspect smollm2-135m-adapter-camel-taunt [--variations default]
    python experiments/unlearning.py --table

Suspects are those of experiments/ablation.py: none of a reported result is used. Each is planted, answers the shipped
instructions once, and is treated in each variation, which ends where the sentences are unlearned. Searches that
variations have in common are done once, and their time is counted in each. Resumable, a file a variation.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import cast

import torch
from ablation import SUSPECTS, Planted, ready
from attacks import percent
from common import Log, say

from untrigger.config import KeyWordOptions, PurifyOptions, TrainOptions, UnlearningOptions
from untrigger.defences.interface import Resources
from untrigger.defences.inversion import without_planted_sentences
from untrigger.errors import UntriggerError
from untrigger.evaluation.opinions import CHANGED
from untrigger.files import write_text_atomic
from untrigger.jobs.preparation import Prepared, Suspect, measure_after, read_measurement
from untrigger.models.state import restore_weights
from untrigger.presets import merged
from untrigger.report.document import Document
from untrigger.report.parts import EnvironmentResult, MeasurementResult, OpinionResult, StageResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder, StageCost

RESULTS = Path(__file__).parent / "results" / "unlearning"
SEARCHES = ("inversion", "words-1")
"""Stages that precede all training, so that they depend on their own options alone."""


def _unlearning(**changes: object) -> PurifyOptions:
    return PurifyOptions(unlearning=UnlearningOptions.model_validate(changes))


VARIATIONS: dict[str, PurifyOptions] = {
    "default": PurifyOptions(),
    "no-words": _unlearning(words=KeyWordOptions(beam=0)),
    "records-240": _unlearning(records=240),
    "records-360": _unlearning(records=360),
    "rounds-6": _unlearning(rounds=6, breaking_rounds=3),
    "search-10": _unlearning(search_steps=10),
    "rate-3.5e-4": _unlearning(train=TrainOptions(learning_rate=3.5e-4)),
    "rate-5e-4": _unlearning(train=TrainOptions(learning_rate=5e-4)),
    "rate-1e-3": _unlearning(train=TrainOptions(learning_rate=1e-3)),
    "whole-way": _unlearning(least_step=1.0),
}
"""Name -> what is set beside the setting's own defaults."""


class UnlearningResult(Document):
    """One suspect under one variation."""

    suspect: str
    variation: str
    options: dict[str, object]
    """All options in force."""
    before: MeasurementResult
    after: MeasurementResult
    findings: tuple[str, ...]
    """The sentences, the words that call them, and how hard they are to call."""
    survived: int
    """Sentences whose chain was not broken."""
    called: int
    """Sentences that survived or can still be called."""
    stages: tuple[StageResult, ...]
    """The treatment's, those included that variations share."""
    environment: EnvironmentResult


@dataclass(frozen=True)
class Bench:
    """A prepared suspect that is treated again and again."""

    planted: Planted
    suspect: Suspect
    prepared: Prepared
    options: PurifyOptions
    run: RunFolder

    def unlearned(self, variation: str) -> UnlearningResult:
        """Treats and measures in one variation; what is finished is not done again."""
        say(f"{self.planted.name}, {variation}")
        options = merged(self.options, VARIATIONS[variation])
        own = RunFolder(self.run.path / variation, Log().stage)
        subject = self.suspect.subject
        resources = Resources(self.suspect.chat, self.prepared.clean, options.seed, own, self.prepared.start, Log())
        shared = self.run.path / f"searches-{_digest(options)}"
        _copied(shared, own.path)
        try:
            done = without_planted_sentences(subject, resources, options)
        finally:
            _copied(own.path, shared)
        costs = own.costs()
        restore_weights(subject, done.resources.start)
        after = measure_after(self.suspect, subject, self.prepared, own)
        return UnlearningResult(
            suspect=self.planted.name,
            variation=variation,
            options=options.model_dump(mode="json"),
            before=read_measurement(self.prepared.before),
            after=read_measurement(after),
            findings=tuple(finding.text for finding in done.findings),
            survived=done.left,
            called=done.called,
            stages=tuple(map(_stage, costs)),
            environment=environment_result("cpu", "torch.float32", torch.get_num_threads()),
        )


def _stage(cost: StageCost) -> StageResult:
    return StageResult(name=cost.name, seconds=cost.seconds, tokens_trained=cost.tokens)


def _digest(options: PurifyOptions) -> str:
    text = options.inversion.model_dump_json() + options.unlearning.words.model_dump_json()
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _copied(source: Path, target: Path) -> None:
    """Copies finished searches that the other folder lacks."""
    for name in SEARCHES:
        if RunFolder(source).finished(name) and not (target / name).exists():
            shutil.copytree(source / name, target / name)


def run(planted: Planted, work: Path, n: int, names: list[str], store: Callable[[UnlearningResult], None]) -> None:
    """Plants the suspect unless that is done, and runs what is missing."""
    with ready(planted, work, n, "unlearning") as (suspect, prepared, options, folder):
        bench = Bench(planted, suspect, prepared, options, folder)
        for name in names:
            store(bench.unlearned(name))


def stored_at(suspect: str, variation: str) -> Path:
    """The result file."""
    return RESULTS / f"{suspect}.{variation}.json"


def stored() -> list[UnlearningResult]:
    """All results there are, by suspect and in the order of the variations."""
    order = list(VARIATIONS)
    found = [UnlearningResult.from_json(file.read_text(), file.name) for file in RESULTS.glob("*.json")]
    return sorted(found, key=lambda one: (one.suspect, order.index(one.variation)))


def table() -> str:
    """Everything stored, a line a suspect and variation."""
    headings = (
        "suspect",
        "variation",
        "before",
        "after",
        "changed in kind",
        "by other words",
        "perplexity",
        "sentences",
        "survived",
        "called",
        "tokens",
        "minutes",
    )
    return "\n".join(
        [
            f"| {' | '.join(headings)} |",
            "|---" * len(headings) + "|",
            *(f"| {' | '.join(row(one))} |" for one in stored()),
        ]
    )


def row(one: UnlearningResult) -> tuple[str, ...]:
    """The cells of one line."""
    before, after, kind = one.before.perplexity, one.after.perplexity, _changed(one.after)
    return (
        one.suspect,
        one.variation,
        percent(one.before.attack_success),
        percent(one.after.attack_success),
        percent(kind and kind.with_key),
        percent(kind and kind.other_words),
        f"x{after.value / before.value:.3f}" if before and after else "-",
        str(len(one.findings)),
        str(one.survived),
        str(one.called),
        f"{sum(stage.tokens_trained for stage in one.stages):,}",
        f"{sum(stage.seconds for stage in one.stages) / 60:.1f}",
    )


def _changed(measured: MeasurementResult) -> OpinionResult | None:
    return next((one for one in measured.opinions if one.judge == CHANGED), None)


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for suspects and unfinished work")
    parser.add_argument("--suspect", choices=SUSPECTS, metavar="NAME", help="such as micro-full-camel-taunt")
    parser.add_argument("--variations", nargs="*", choices=VARIATIONS, default=["default"], metavar="NAME")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    given = parser.parse_args()
    if not given.table and None in (given.work, given.suspect):
        parser.error("--work FOLDER and --suspect NAME are needed, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not given.table:
        planted = SUSPECTS[cast(str, given.suspect)]
        missing = [name for name in given.variations if not stored_at(planted.name, name).exists()]

        def store(found: UnlearningResult) -> None:
            write_text_atomic(stored_at(found.suspect, found.variation), found.to_json())

        try:
            run(planted, given.work, given.n, missing, store)
        except UntriggerError as error:
            sys.exit(error.line())
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
