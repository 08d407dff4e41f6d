"""Our defence: the signature of synthetic backdoors, suppressed, and a repair that unlearns their keys.

After arXiv 2603.13461; with `paper_options` it is the published method.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from untrigger.config import PurifyOptions
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.inversion import Unlearned, sentences_told, without_planted_sentences
from untrigger.defences.pairs import LEFT_OUT, Pairs, trained_pairs
from untrigger.defences.phases import fresh_adapter
from untrigger.defences.renewal import renewal, renewed
from untrigger.defences.suppression import suppressed
from untrigger.defences.titration import Titration
from untrigger.extraction import pair_grams
from untrigger.models.new_adapter import through_adapter
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.runs import RunFolder
from untrigger.signature.overlap import stability
from untrigger.signature.select import choose, score_table
from untrigger.signature.store import load_scores, load_signature, save_signature
from untrigger.signature.types import Signature
from untrigger.titration import Strength

_SYNTHETIC = "The signature comes from our own synthetic backdoors; one unlike all of them may survive."
_ENDED = (
    "Planted sentences were unlearned, and the treatment ended there: a further backdoor of another kind may survive"
    " (--unlearning.further always goes on with the signature)."
)
_UNCHANGED = (
    "No sentence was found that the model was made to say, and nothing was changed: a backdoor of another kind may be"
    " there (--unlearning.further unfound treats the model all the same, at a price in what it can do)."
)
_NONE_FOUND = "No sentence was found that the adapter was made to say."
_DISCARDED = "What the unlearning did was not enough and is left out; less of the update was kept instead."
_CANARIES = (
    "The strength was chosen on canaries that we planted; a backdoor that sits deeper than they do may survive."
)


def vaccine(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Inversion and unlearning, then renewal or pairs, signature, suppression, injection and repair; in place.

    What is unlearned first are sentences that the suspect completes whatever it is asked. Whether signature and
    suppression follow, from the weights this leaves, depends on what was found and on `unlearning.further`; where
    they do not, an adapter is renewed, from the suspect's weights if the unlearning did not do what it was for, and a
    whole model in which nothing is found stays as it is. With canaries, the strength is chosen on them before the
    suspect is suppressed. A pair whose training diverges twice is left out, which the limits say. Each step is a
    stage.

    Raises:
        UsageError: too few clean records, or options that the setting does not have.
        UntriggerError: canaries that do not take.
        Interrupted, Diverged, OutOfMemory: from the trainings.
    """
    if not options.inversion.enable:
        return _immunised(subject, resources, options)
    if _keeps_nothing(subject, options):
        told = sentences_told(subject, resources, options)
        treated = renewed(subject, resources, options.renewal, 0.0)
        return replace(treated, findings=told, limits=(*(() if told else (_NONE_FOUND,)), *treated.limits))
    done = without_planted_sentences(subject, resources, options)
    if options.titration.canaries or follows(options.unlearning.further, done):
        treated = _immunised(subject, done.resources, options)
    elif subject.access == "adapter" and options.renewal.enable and done.settled:
        treated = renewed(subject, done.resources, options.renewal, options.renewal.remainder)
    elif subject.access == "adapter" and options.renewal.enable:
        treated = renewal(subject, resources, options)
        treated = replace(treated, limits=(_DISCARDED if done.targets else _NONE_FOUND, *treated.limits))
        done = done.discarded
    else:
        restore_weights(subject, done.resources.start)
        ending = _ENDED if done.targets else _UNCHANGED
        resources.observer.note(ending)
        treated = Treated(subject, limits=(ending,))
    return replace(treated, findings=done.findings, limits=(*done.limits, *treated.limits))


def _keeps_nothing(subject: Subject, options: PurifyOptions) -> bool:
    """Whether nothing of the suspect's update is left in the end, so that there is nothing to unlearn."""
    renewing = subject.access == "adapter" and options.renewal.enable
    nothing = options.renewal.remainder == options.renewal.unfound == 0
    return renewing and nothing and options.unlearning.further == "never" and not options.titration.canaries


def follows(further: str, done: Unlearned) -> bool:
    """Whether signature, suppression and repair follow what was unlearned; see `UnlearningOptions.further`."""
    if further in ("always", "never"):
        return further == "always"
    return bool(done.left) or (further == "unfound" and not (done.targets and done.by_words))


def _immunised(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    if options.titration.canaries:
        return _titrated(Titration.of(subject, resources, options))
    folder = signature_stage(subject, resources, options)
    return _treated(subject, resources, options, load_signature(folder), folder)


def _titrated(titration: Titration) -> Treated:
    subject, resources = titration.subject, titration.resources
    folder = signature_stage(subject, resources, titration.options)
    table = load_scores(folder)
    titre = titration.titre(table)
    options = Strength(titre.rung.ratio, titre.rung.remainder).applied(titration.options)
    signature = choose(table, subject.architecture, options.signature)
    treated = _treated(subject, resources, options, signature, folder)
    return replace(treated, titre=titre, limits=(*treated.limits, _CANARIES))


def _treated(
    subject: Subject, resources: Resources, options: PurifyOptions, signature: Signature, folder: Path
) -> Treated:
    treated = suppressed(subject, resources, options, signature)
    told = folder / LEFT_OUT
    left_out = told.read_text(encoding="utf-8").splitlines() if told.exists() else ()
    return replace(treated, limits=(_SYNTHETIC, *left_out, *treated.limits))


def signature_stage(
    subject: Subject, resources: Resources, options: PurifyOptions, *, kept: RunFolder | None = None
) -> Path:
    """The folder of the signature with the scores it was chosen from; pairs are trained where they are missing.

    Pairs are stages of the run, or of `kept`, where several runs can share them.
    """
    variants, pairs = options.variants, replace(resources, run=kept or resources.run)
    if subject.access == "adapter" or variants.through == "weights":
        return _signature_stage(subject, resources, pairs, options)
    with through_adapter(subject, variants.adapter, resources.seed, merged=False) as tuned:
        start = fresh_adapter(tuned, pairs.run, "variants-adapter")
        return _signature_stage(tuned, replace(resources, start=start), replace(pairs, start=start), options)


def _signature_stage(subject: Subject, resources: Resources, for_pairs: Resources, options: PurifyOptions) -> Path:
    finished = resources.run.finished("signature")
    pairs = Pairs((), ()) if finished else trained_pairs(subject, for_pairs, options.variants)

    def extract(work: Path) -> int:
        restore_weights(subject, resources.start)
        grams, architecture = pair_grams(subject, pairs.files, options.signature), subject.architecture
        table = score_table(grams, architecture, options.signature)
        chosen = choose(table, architecture, options.signature)
        save_signature(work, chosen, table, stability(chosen, grams, architecture, options.signature))
        if pairs.left_out:
            (work / LEFT_OUT).write_text("\n".join(pairs.left_out), encoding="utf-8")
        return 0

    return resources.run.stage("signature", extract)
