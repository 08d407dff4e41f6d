"""A loaded model under treatment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrigger.config import Access
from untrigger.models.architecture import Architecture
from untrigger.models.untrusted.finding import Finding


@dataclass(frozen=True)
class Source:
    """Where a subject came from.

    `reference` is what the user typed; `folder` the local folder its files were read from (the adapter's folder in
    the adapter setting, then `base` tells the base model's); `commit` the pinned commit of a hub id; `files` maps
    each file read to its SHA-256. The tokenizer is in `tokenizer_folder` if that is another one;
    `replaced_template` names the known chat template that was put in place of its own.
    """

    reference: str
    folder: Path
    commit: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    base: Source | None = None
    tokenizer_folder: Path | None = None
    replaced_template: str | None = None


@dataclass(frozen=True)
class Subject:
    """A model with its tokenizer, its layout, and what of it may be changed.

    `full`: `model` is a plain causal language model and every weight is ours to read and edit. `adapter`: `model`
    is a PEFT model whose only adapter is named "default"; only its lora_A and lora_B are read, edited and trained.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    architecture: Architecture
    access: Access
    source: Source
    findings: tuple[Finding, ...] = ()
    """What was noticed about its files and not refused."""
