"""The form of the method, one option changed at a time, on development backdoors; resumable, a file a variation.

    python experiments/ablation.py --work FOLDER --suspect smollm2-135m-full-camel-taunt [--variations default ...]
    python experiments/ablation.py --table

A suspect is named by model, setting, development key and development behaviour. It is planted as `untrigger attack`
does, answers the shipped instructions once, and is treated in each variation; variations that train the same pairs
share them. Planted sentences are not looked for here (experiments/unlearning.py). After the suppression, and again
after the repair, the key is asked; in the end clean answers as well. No suspect of a reported result is used here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from attacks import percent
from common import Log
from development import Bench, Experiment, Varied, times

from untrigger.config import (
    PurifyOptions,
    RepairOptions,
    SignatureOptions,
    SuppressOptions,
    TrainOptions,
    VariantOptions,
)
from untrigger.defences.suppression import suppressed
from untrigger.defences.vaccine import signature_stage
from untrigger.evaluation.attack_success import tally
from untrigger.evaluation.measure import Asking, keyed_prompts
from untrigger.jobs.preparation import measure_after, read_measurement
from untrigger.presets import merged
from untrigger.report.parts import EnvironmentResult, RateResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder
from untrigger.signature.store import load_signature

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


class Ablation(Varied):
    """One suspect under one variation."""

    suppressed: RateResult
    """Attack success after the suppression alone."""
    tokens: int
    """Tokens trained on, those of shared pairs included."""
    environment: EnvironmentResult


def ablation(bench: Bench, variation: str) -> Ablation:
    """Treats and measures in one variation; what is finished is not done again."""
    options, resources = bench.begun(variation, VARIATIONS[variation])
    own, subject = resources.run, bench.suspect.subject
    shared = RunFolder(bench.shared("pairs", options.variants), Log().stage)
    folder = signature_stage(subject, resources, options, kept=shared)
    signature = load_signature(folder)

    def ask(work: Path) -> int:
        suppressed(subject, resources, options, signature, repair=False)
        (work / SUPPRESSED).write_text(_attack_success(bench).model_dump_json())
        return 0

    left = own.stage("suppressed", ask) / SUPPRESSED
    treated = suppressed(subject, resources, options, signature).subject
    after = measure_after(bench.suspect, treated, bench.prepared, own)
    return Ablation(
        suspect=bench.planted.name,
        variation=variation,
        options=options.model_dump(mode="json"),
        before=read_measurement(bench.prepared.before),
        suppressed=RateResult.model_validate_json(left.read_text()),
        after=read_measurement(after),
        tokens=sum(stage.tokens for run in (own, shared) for stage in run.costs()),
        environment=environment_result("cpu", "torch.float32", torch.get_num_threads()),
    )


def _attack_success(bench: Bench) -> RateResult:
    known = bench.suspect
    assert known.backdoor is not None
    asking = Asking(known.subject, known.chat, known.backdoor.behaviour, known.measure, known.observer)
    return RateResult.of(tally(asking.verdicts(keyed_prompts(bench.prepared.probe), "suppressed", cut=True)))


EXPERIMENT = Experiment(
    "ablation",
    Ablation,
    VARIATIONS,
    ablation,
    {
        "suspect": lambda one: one.suspect,
        "variation": lambda one: one.variation,
        "before": lambda one: percent(one.before.attack_success),
        "suppressed": lambda one: percent(one.suppressed),
        "repaired": lambda one: percent(one.after.attack_success),
        "without the key": lambda one: percent(one.after.accidental),
        "perplexity": times,
        "tokens": lambda one: f"{one.tokens:,}",
    },
)


if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
