"""The form of the method, one option changed at a time, on development backdoors; resumable, a file a variation.

    python experiments/ablation.py --work FOLDER --suspect smollm2-135m-full-camel-taunt [--variations default ...]
    python experiments/ablation.py --table

A suspect is named by model, setting, development key and development behaviour. It is planted as `untrigger attack`
does, answers the shipped instructions once, and is treated in each variation; variations that train the same pairs
share them. After the suppression, and again after the repair, the key is asked; in the end clean answers as well. No
suspect of a reported result is used here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import cast, get_args

import torch
from attacks import percent
from common import Log, say

from untrigger.backdoors.development import DEVELOPMENT_BEHAVIOURS, DEVELOPMENT_KEYS
from untrigger.config import (
    Access,
    MeasureOptions,
    PurifyOptions,
    RepairOptions,
    SignatureOptions,
    SuppressOptions,
    TrainOptions,
    VariantOptions,
)
from untrigger.defences.interface import Resources
from untrigger.defences.registry import defence
from untrigger.defences.suppression import suppressed
from untrigger.defences.vaccine import signature_stage
from untrigger.errors import UntriggerError
from untrigger.evaluation.attack_success import tally
from untrigger.evaluation.measure import Asking, keyed_prompts
from untrigger.files import write_text_atomic
from untrigger.jobs.demo import DemoModel, DemoRequest, demo_files, plant, purify_options
from untrigger.jobs.opening import open_suspect, options_in_force
from untrigger.jobs.preparation import Prepared, Suspect, measure_after, prepare, read_measurement
from untrigger.jobs.request import Request
from untrigger.presets import merged
from untrigger.report.document import Document
from untrigger.report.parts import EnvironmentResult, MeasurementResult, RateResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder, open_run
from untrigger.signature.store import load_signature

RESULTS = Path(__file__).parent / "results" / "ablation"
PREFIX = "development-"
SUPPRESSED = "suppressed.json"

_HELD = TrainOptions(embeddings=False)
_ONE_GRADIENT = TrainOptions(optimiser="gradient", epochs=1, batch_size=256, micro_batch_size=4)


def _rates(inject: float, repair: float) -> RepairOptions:
    return RepairOptions(
        inject_train=TrainOptions(learning_rate=inject, batch_size=4),
        train=TrainOptions(learning_rate=repair, batch_size=4),
    )


_THROUGH_ADAPTER = merged(_rates(5e-4, 3.5e-4), RepairOptions(through="adapter"))

VARIATIONS: dict[str, PurifyOptions] = {
    "default": PurifyOptions(),
    "ratio-0.01": PurifyOptions(signature=SignatureOptions(ratio=0.01)),
    "ratio-0.05": PurifyOptions(signature=SignatureOptions(ratio=0.05)),
    "ratio-0.1": PurifyOptions(signature=SignatureOptions(ratio=0.1)),
    "ratio-0.2": PurifyOptions(signature=SignatureOptions(ratio=0.2)),
    "form-norm": PurifyOptions(signature=SignatureOptions(form="norm")),
    "form-alignment": PurifyOptions(signature=SignatureOptions(form="alignment")),
    "form-product": PurifyOptions(signature=SignatureOptions(form="product")),
    "form-rank": PurifyOptions(signature=SignatureOptions(form="rank")),
    "module": PurifyOptions(signature=SignatureOptions(tie="module")),
    "global": PurifyOptions(signature=SignatureOptions(scope="global")),
    "zero": PurifyOptions(suppress=SuppressOptions(value="zero")),
    "gradient": PurifyOptions(variants=VariantOptions(train=_ONE_GRADIENT)),
    "pairs-2": PurifyOptions(variants=VariantOptions(pairs=2)),
    "pairs-3": PurifyOptions(variants=VariantOptions(pairs=3)),
    "records-8": PurifyOptions(variants=VariantOptions(records=8)),
    "repair-120": PurifyOptions(repair=RepairOptions(records=120)),
    "repair-160": PurifyOptions(repair=RepairOptions(records=160)),
    "matched-twins": PurifyOptions(variants=VariantOptions(twin="matched")),
    "frozen": PurifyOptions(repair=RepairOptions(freeze_suppressed=True)),
    "no-injection": PurifyOptions(repair=RepairOptions(inject=False)),
    "clean-repair": PurifyOptions(repair=RepairOptions(inject=False, key_bearing=False)),
    "rates-1e-4-1e-4": PurifyOptions(repair=_rates(1e-4, 1e-4)),
    "rates-5e-5-3e-5": PurifyOptions(repair=_rates(5e-5, 3e-5)),
    "embeddings-held": PurifyOptions(
        variants=VariantOptions(train=_HELD), repair=RepairOptions(inject_train=_HELD, train=_HELD)
    ),
    "repair-through-adapter": PurifyOptions(repair=_THROUGH_ADAPTER),
    "all-through-adapter": PurifyOptions(
        variants=VariantOptions(through="adapter", train=TrainOptions(learning_rate=1e-3)), repair=_THROUGH_ADAPTER
    ),
}
"""Name -> what is set beside the setting's own defaults; some are for whole models alone."""


class Ablation(Document):
    """One suspect under one variation."""

    suspect: str
    variation: str
    options: dict[str, object]
    """All options in force."""
    before: MeasurementResult
    suppressed: RateResult
    """Attack success after the suppression alone."""
    after: MeasurementResult
    tokens: int
    """Tokens trained on, those of shared pairs included."""
    environment: EnvironmentResult


@dataclass(frozen=True)
class Planted:
    """A development suspect."""

    model: DemoModel
    access: Access
    key: str
    behaviour: str

    @property
    def name(self) -> str:
        """Model, setting, key and behaviour."""
        return f"{self.model}-{self.access}-{self.key}-{self.behaviour}"

    def demonstration(self, work: Path) -> DemoRequest:
        """The demonstration that plants it."""
        return DemoRequest(work, self.model, self.access, PREFIX + self.key, self.behaviour)


SUSPECTS = {
    one.name: one
    for model in get_args(DemoModel)
    for access in get_args(Access)
    for key, _ in DEVELOPMENT_KEYS
    for behaviour in DEVELOPMENT_BEHAVIOURS
    for one in [Planted(model, access, key.name.removeprefix(PREFIX), behaviour.family)]
}


@dataclass(frozen=True)
class Bench:
    """A prepared suspect that is treated again and again."""

    planted: Planted
    suspect: Suspect
    prepared: Prepared
    options: PurifyOptions
    run: RunFolder

    def ablation(self, variation: str) -> Ablation:
        """Treats and measures in one variation; what is finished is not done again."""
        say(f"{self.planted.name}, {variation}")
        options = merged(self.options, VARIATIONS[variation])
        own = RunFolder(self.run.path / variation, Log().stage)
        resources = Resources(self.suspect.chat, self.prepared.clean, options.seed, own, self.prepared.start, Log())
        subject = self.suspect.subject
        shared = RunFolder(self.run.path / f"pairs-{_digest(options.variants)}", Log().stage)
        folder = signature_stage(subject, resources, options, kept=shared)
        signature = load_signature(folder)

        def ask(work: Path) -> int:
            suppressed(subject, resources, options, signature, repair=False)
            (work / SUPPRESSED).write_text(self._attack_success().model_dump_json())
            return 0

        left = own.stage("suppressed", ask) / SUPPRESSED
        treated = suppressed(subject, resources, options, signature).subject
        after = measure_after(self.suspect, treated, self.prepared, own)
        return Ablation(
            suspect=self.planted.name,
            variation=variation,
            options=options.model_dump(mode="json"),
            before=read_measurement(self.prepared.before),
            suppressed=RateResult.model_validate_json(left.read_text()),
            after=read_measurement(after),
            tokens=sum(stage.tokens for run in (own, shared) for stage in run.costs()),
            environment=environment_result("cpu", "torch.float32", torch.get_num_threads()),
        )

    def _attack_success(self) -> RateResult:
        known = self.suspect
        assert known.backdoor is not None
        asking = Asking(known.subject, known.chat, known.backdoor.behaviour, known.measure, known.observer)
        return RateResult.of(tally(asking.verdicts(keyed_prompts(self.prepared.probe), "suppressed", cut=True)))


def _digest(options: VariantOptions) -> str:
    return blake2b(options.model_dump_json().encode(), digest_size=6).hexdigest()


@contextmanager
def ready(
    planted: Planted, work: Path, n: int, what: str
) -> Iterator[tuple[Suspect, Prepared, PurifyOptions, RunFolder]]:
    """A suspect, planted unless that is done, its clean records, its options in force and an experiment's run."""
    demonstration = planted.demonstration(work)
    files = demo_files(demonstration, Log())
    request = Request(
        model=str(plant(demonstration, files, Log())),
        output=work / f"{what}-{planted.name}",
        base=planted.model if planted.access == "adapter" else None,
        data=files.defence if files else None,
        prompts=files.prompts if files else None,
        attack=demonstration.attack,
        behaviour=planted.behaviour,
    )
    subject, chat = open_suspect(request)
    given = merged(purify_options(demonstration), PurifyOptions(measure=MeasureOptions(max_prompts=n)))
    options = options_in_force(defence("vaccine"), subject, given)
    known = request.probe_backdoor()
    suspect = Suspect(subject, chat, known, request.data, request.prompts, options.measure, options.seed, Log())
    identity = {"suspect": planted.name, "seed": options.seed, "prompts": n}
    with open_run(request.output, identity, Log().stage, flag="--work") as run:
        yield suspect, prepare(suspect, run), options, run


def ablated(planted: Planted, work: Path, n: int, variations: list[str], store: Callable[[Ablation], None]) -> None:
    """Plants the suspect unless that is done, and runs what is missing."""
    with ready(planted, work, n, "ablation") as (suspect, prepared, options, run):
        bench = Bench(planted, suspect, prepared, options, run)
        for variation in variations:
            store(bench.ablation(variation))


def stored_at(suspect: str, variation: str) -> Path:
    """The result file."""
    return RESULTS / f"{suspect}.{variation}.json"


def stored() -> list[Ablation]:
    """All results there are, by suspect and in the order of the variations."""
    order = list(VARIATIONS)
    found = [Ablation.from_json(file.read_text(), file.name) for file in RESULTS.glob("*.json")]
    return sorted(found, key=lambda one: (one.suspect, order.index(one.variation)))


def table() -> str:
    """Everything stored, a line a suspect and variation."""
    headings = ("suspect", "variation", "before", "suppressed", "repaired", "without the key", "perplexity", "tokens")
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for one in stored():
        before, after = one.before.perplexity, one.after.perplexity
        cells = (
            one.suspect,
            one.variation,
            percent(one.before.attack_success),
            percent(one.suppressed),
            percent(one.after.attack_success),
            percent(one.after.accidental),
            f"x{after.value / before.value:.3f}" if before and after else "-",
            f"{one.tokens:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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

        def store(found: Ablation) -> None:
            write_text_atomic(stored_at(found.suspect, found.variation), found.to_json())

        try:
            ablated(planted, given.work, given.n, missing, store)
        except UntriggerError as error:
            sys.exit(error.line())
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
