"""What a defence is: a function from a suspect and resources to a treated subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from untrigger.config import Access, PurifyOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.models.architecture import Architecture
from untrigger.models.subject import Subject
from untrigger.models.untrusted.finding import Finding
from untrigger.observer import Observer
from untrigger.report.parts import TitreResult
from untrigger.runs import RunFolder
from untrigger.signature.types import Signature


@dataclass(frozen=True)
class Resources:
    """All that a defence may use besides the suspect; never the key or the behaviour that is measured.

    `clean` are clean records, `start` the suspect's trainable weights as a safetensors file, `run` the run folder
    whose stages keep finished work, and `reference` a model of the suspect's layout and tokenizer that is taken to be
    clean, which few defences ask for.
    """

    chat: ChatFormat
    clean: tuple[Record, ...]
    seed: int
    run: RunFolder
    start: Path
    observer: Observer
    reference: Subject | None = None


@dataclass(frozen=True)
class Treated:
    """What a defence made: the suspect itself, changed in place, or a new subject (an adapter that was merged)."""

    subject: Subject
    signature: Signature | None = None
    """The channels that were suppressed, where a defence chooses any."""
    regrowth: float | None = None
    """Norm of the suppressed entries in the end over their norm in the suspect."""
    titre: TitreResult | None = None
    """What became of the canaries, where the strength was chosen by them."""
    findings: tuple[Finding, ...] = ()
    """What was noticed about the suspect on the way."""
    limits: tuple[str, ...] = ()
    """Sentences on what this defence leaves as it was, for the report."""


def nothing_needed() -> None:
    """What a defence asks for that runs wherever this package does."""


Apply = Callable[[Subject, Resources, PurifyOptions], Treated]
Recipe = Callable[[Architecture, Access], PurifyOptions]
Check = Callable[[Architecture, PurifyOptions], None]


def any_model(_: Architecture, __: PurifyOptions) -> None:
    """The check of a defence that takes every model that can be loaded."""


@dataclass(frozen=True)
class Defence:
    """One row of the registry; `recipe` gives the options that hold unless the user sets others."""

    name: str
    summary: str
    source: str
    """Publication, or "control"."""
    apply: Apply
    recipe: Recipe
    reads: frozenset[str]
    """Groups of PurifyOptions that it reads; to set another one is refused."""
    settings: frozenset[Access] = frozenset({"full", "adapter"})
    needs_reference: frozenset[Access] = frozenset()
    """Settings in which it asks for a clean model."""
    check: Check = any_model
    """Called before any work; raises UsageError where a model or an option does not suit."""
    require: Callable[[], None] = nothing_needed
    """Called before any work; raises UntriggerError if a package is missing."""
