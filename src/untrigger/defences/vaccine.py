"""Our defence: the signature of synthetic backdoors, suppressed, and a repair that unlearns their keys.

After arXiv 2603.13461; with `paper_options` it is the published method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.suppression import suppressed
from untrigger.defences.titration import Titration
from untrigger.extraction import pair_scores
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.signature.select import choose
from untrigger.signature.store import load_scores, load_signature, save_signature
from untrigger.signature.types import Signature
from untrigger.titration import Strength
from untrigger.variants import PAIR, VariantPlan, plan_variants, train_pair

_SYNTHETIC = "The signature comes from our own synthetic backdoors; one unlike all of them may survive."
_CANARIES = (
    "The strength was chosen on canaries that we planted; a backdoor that sits deeper than they do may survive."
)


def vaccine(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Pairs, signature, suppression, injection and repair, each a stage; the suspect is changed in place.

    With canaries, the strength is chosen on them before the suspect is suppressed.

    Raises:
        UsageError: too few clean records, or options that the setting does not have.
        UntriggerError: canaries that do not take.
        Interrupted, Diverged, OutOfMemory: from the trainings.
    """
    if options.titration.canaries:
        return _titrated(Titration.of(subject, resources, options))
    signature = load_signature(signature_stage(subject, resources, options))
    return _treated(subject, resources, options, signature)


def _titrated(titration: Titration) -> Treated:
    subject, resources = titration.subject, titration.resources
    table = load_scores(signature_stage(subject, resources, titration.options))
    titre = titration.titre(table)
    options = Strength(titre.rung.ratio, titre.rung.remainder).applied(titration.options)
    signature = choose(table, subject.architecture, options.signature)
    treated = _treated(subject, resources, options, signature)
    return replace(treated, titre=titre, limits=(*treated.limits, _CANARIES))


def _treated(subject: Subject, resources: Resources, options: PurifyOptions, signature: Signature) -> Treated:
    treated = suppressed(subject, resources, options, signature)
    return replace(treated, limits=(_SYNTHETIC, *treated.limits))


def signature_stage(subject: Subject, resources: Resources, options: PurifyOptions) -> Path:
    """The folder of the signature with the scores it was chosen from; pairs are trained where they are missing."""
    pairs = [] if resources.run.finished("signature") else _pairs(subject, resources, options)

    def extract(work: Path) -> int:
        restore_weights(subject, resources.start)
        table = pair_scores(subject, pairs, options.signature)
        save_signature(work, choose(table, subject.architecture, options.signature), table)
        return 0

    return resources.run.stage("signature", extract)


def _pairs(subject: Subject, resources: Resources, options: PurifyOptions) -> list[Path]:
    def build(plan: VariantPlan, label: str) -> Callable[[Path], int]:
        return lambda work: train_pair(
            subject,
            resources.chat,
            plan,
            options.variants,
            start=resources.start,
            work=work,
            label=label,
            observer=resources.observer,
        )

    plans = plan_variants(resources.clean, options.variants, resources.seed)
    return [
        resources.run.stage(f"pair-{index:02d}", build(plan, f"pair {index} of {len(plans)}")) / PAIR
        for index, plan in enumerate(plans, start=1)
    ]
