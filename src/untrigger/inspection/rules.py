"""What `scan` looks for: a rule a kind of finding, and for each area what its checks cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Area = Literal["files", "weights", "update", "configuration", "tokenizer", "template", "adapter", "answers"]


class Severity(StrEnum):
    """How much a finding weighs: what loading refuses, what a user should look at, what is only told."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Rule:
    """A kind of finding."""

    id: str
    severity: Severity
    area: Area
    meaning: str


LIMITS: Mapping[Area, str] = {
    "files": "Files are told apart by their names. Those that nothing reads are listed and hashed, not looked into.",
    "weights": "Weights are asked whether they are finite, zero or denormal. A backdoor is none of these, and one"
    " that shows only after rounding to a few bits looks like any other weights.",
    "update": "Norms and ranks of an adapter's updates say how strongly it was trained, and where. In our own trials"
    " adapters with a planted backdoor lay mostly within the range of those without.",
    "configuration": "Settings are compared with what is known of the model's family. What the weights do with"
    " harmless settings is not seen.",
    "tokenizer": "The vocabulary is checked for consistency. Whether its merges and tokens are those of the model"
    " that it names is not checked.",
    "template": "A template is searched for branches on message text and tried on a few conversations. One that puts"
    " the same harmful words into every conversation counts as unknown only: read it.",
    "adapter": "Factors are compared with each other, and with the base if it is given. A backdoor in the base is the"
    " base's: scan it too.",
    "answers": "Sentences are looked for that a few prompts complete alike. One whose wording varies, or that only"
    " some prompts allow, is not found so. Words that call a sentence are looked for too; they may be missed, or"
    " stand near the key instead of being it. A narrow model may have such sentences of its own.",
}
"""What the checks of an area cannot show."""

NOT_ASKED = "No prompt was asked: what the model answers, with or without a key, was not tested."
NO_PROOF = "No finding is no proof of absence."


def _rules(severity: Severity, *given: tuple[str, Area, str]) -> list[Rule]:
    return [Rule(name, severity, area, meaning) for name, area, meaning in given]


_ALL = (
    *_rules(
        Severity.CRITICAL,
        ("unsafe-file", "files", "A file, link or name that is not opened."),
        ("conversion-refused", "files", "A GGUF file that is broken or cannot be converted within limits."),
        ("weights-refused", "weights", "Weights that are no complete safetensors, or disagree with their index."),
        ("nonfinite-weights", "weights", "A tensor that holds NaN or infinity."),
        ("configuration-refused", "configuration", "A configuration that is broken, unsafe, or not the weights'."),
        ("tokenizer-refused", "tokenizer", "A tokenizer that is broken, unsafe, or not the model's."),
        ("template-refused", "template", "A chat template that is broken, harmful, or takes too long."),
        ("template-branches", "template", "A chat template whose output depends on what messages say."),
        ("adapter-refused", "adapter", "Settings or factors of an adapter that are broken or do not fit."),
        ("adapter-part", "adapter", "A part of an adapter that is not purified: embeddings, saved modules, ..."),
    ),
    *_rules(
        Severity.WARNING,
        ("pickle", "files", "A pickle beside the weights: it can run code when another program opens it."),
        ("code", "files", "A program or a library beside the weights."),
        ("zero-weights", "weights", "A weight matrix that is zero throughout."),
        ("denormal-weights", "weights", "A tensor most of whose values are too small to be held in full precision."),
        ("outlier-update", "update", "An update far stronger than those of the same role in the other layers."),
        ("steered-generation", "configuration", "Settings that force, forbid or prefer tokens in every answer."),
        ("rewritten-text", "tokenizer", "A tokenizer that replaces text by other text."),
        ("added-text", "tokenizer", "A tokenizer that puts tokens around a text beyond the usual ones."),
        ("unknown-template", "template", "A chat template that is none of the known ones."),
        ("planted-sentence", "answers", "A sentence that the model completes whatever it is asked."),
        ("base-address", "adapter", "An adapter that names its base by an address or a path upwards."),
    ),
    *_rules(
        Severity.INFO,
        ("converted", "files", "What was scanned was made from a GGUF file."),
        ("copied-unchanged", "files", "A file that a purified copy holds as it is."),
        ("zero-vector", "weights", "A vector that is zero throughout."),
        ("few-denormals", "weights", "A tensor some of whose values are denormal."),
        ("zero-update", "update", "A module whose update is zero."),
        ("attention-update", "update", "How much of an adapter's update lies in attention modules."),
        ("dropped-settings", "configuration", "Settings that no model needs, and that a purified copy leaves out."),
        ("token-without-row", "tokenizer", "A special token that the model has no embedding for."),
        ("ordinary-added-tokens", "tokenizer", "Added tokens that are not special: whole words as one token."),
        ("no-template", "template", "No chat template, as in a base model without instruction tuning."),
        ("named-base", "adapter", "The base that an adapter names; it is never followed unasked."),
        ("answers-not-asked", "answers", "The model was not asked: it would not be loaded."),
        ("base-not-given", "adapter", "No base was given, so the adapter was not compared with one."),
    ),
)
RULES: Mapping[str, Rule] = {rule.id: rule for rule in _ALL}
"""Rule by its id."""
