"""Our defence: the signature of synthetic backdoors, suppressed, and a repair that unlearns their keys.

After arXiv 2603.13461; with `paper_options` it is the published method.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.pairs import LEFT_OUT, Pairs, trained_pairs
from untrigger.defences.suppression import suppressed
from untrigger.extraction import pair_scores
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.signature.select import choose
from untrigger.signature.store import load_signature, save_signature

_SYNTHETIC = "The signature comes from our own synthetic backdoors; one unlike all of them may survive."


def vaccine(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Pairs, signature, suppression, injection and repair, each a stage; the suspect is changed in place.

    A pair whose training diverges twice is left out, which the limits say.

    Raises:
        UsageError: too few clean records, or options that the setting does not have.
        Interrupted, Diverged, OutOfMemory: from the trainings.
    """
    folder = _signature(subject, resources, options)
    treated = suppressed(subject, resources, options, load_signature(folder))
    told = folder / LEFT_OUT
    left_out = told.read_text(encoding="utf-8").splitlines() if told.exists() else ()
    return replace(treated, limits=(_SYNTHETIC, *left_out, *treated.limits))


def _signature(subject: Subject, resources: Resources, options: PurifyOptions) -> Path:
    finished = resources.run.finished("signature")
    pairs = Pairs((), ()) if finished else trained_pairs(subject, resources, options.variants)

    def extract(work: Path) -> int:
        restore_weights(subject, resources.start)
        table = pair_scores(subject, pairs.files, options.signature)
        save_signature(work, choose(table, subject.architecture, options.signature), table)
        if pairs.left_out:
            (work / LEFT_OUT).write_text("\n".join(pairs.left_out), encoding="utf-8")
        return 0

    return resources.run.stage("signature", extract)
