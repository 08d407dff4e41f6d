"""What makes a run the same run: the model's bytes, the options, the data, and the libraries that compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from untrigger.config import Options
from untrigger.files import sha256
from untrigger.models.subject import Source, Subject
from untrigger.report.summary import environment_result


def run_identity(asked: Mapping[str, object], options: Options, subject: Subject) -> dict[str, object]:
    """The identity of a run as plain JSON values; a run folder is resumed only under an equal one.

    `asked` holds what shapes the run besides model and options; a file counts by its content, not by its name.
    """
    parameter = next(subject.model.parameters())
    environment = environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads())
    return {
        "model": source_identity(subject.source),
        "access": subject.access,
        "options": options.model_dump(mode="json"),
        "asked": {name: sha256(value) if isinstance(value, Path) else value for name, value in asked.items()},
        "environment": environment.model_dump(mode="json"),
    }


def source_identity(source: Source) -> dict[str, object]:
    """What a model came from, as plain JSON values: its name, commit and the hashes of its files."""
    base = None if source.base is None else source_identity(source.base)
    known: dict[str, object] = {
        "reference": source.reference,
        "commit": source.commit,
        "files": dict(source.files),
        "base": base,
    }
    replaced = source.replaced_template
    return known if replaced is None else known | {"replaced_template": replaced}
