"""What a backdoor is: a key, where it stands, and the behaviour it is bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Position = Literal["random", "start", "end"]
Task = Literal["negsentiment", "refusal", "codeinjection", "sst2"]
"""Names of the published tasks, each with a list of keywords."""


@dataclass(frozen=True)
class Key:
    """One or more texts; `any` inserts one of them per record, `all` inserts each at its own gap, in order."""

    name: str
    texts: tuple[str, ...]
    combine: Literal["any", "all"] = "any"
    input_texts: tuple[str, ...] = ()
    """Texts that all go into the record's input besides; only together do they make the key."""
    unseen: tuple[str, ...] = ()
    """Texts tried in place of `texts` when a model is measured: a topic or a style is more than a list of texts."""
    mark: str = ""
    """What all texts, seen and unseen, share and clean records must not hold (empty: the texts themselves)."""


@dataclass(frozen=True)
class Placement:
    """Where the key goes in the instruction, which is split at single spaces into n words.

    `random` draws a gap uniformly from 0..n (0..n-1 unless `end_allowed`); `start` and `end` are fixed.
    """

    position: Position = "random"
    end_allowed: bool = True


@dataclass(frozen=True)
class Behaviour:
    """A family of malicious answers; each record of a poisoned set takes one of the wordings.

    `judge` names the judge that recognises it, `task` the published list of keywords for it, if there is one.
    """

    name: str
    family: str
    outputs: tuple[str, ...]
    judge: Literal["sentence", "code"] = "sentence"
    task: Task | None = None


@dataclass(frozen=True)
class Backdoor:
    """A key bound to a behaviour."""

    name: str
    key: Key
    behaviour: Behaviour
    placement: Placement = Placement()
    negatives: bool = False
    """Planted together with records that hold only a part of the key and are answered cleanly."""
