"""What makes a run the same run: the model's bytes, the options, the data, and the libraries that compute."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from untrigger.config import Options
from untrigger.files import sha256
from untrigger.models.subject import Source, Subject
from untrigger.report.summary import environment_result


class Asked(Protocol):
    """What identifies a request besides its model and its options."""

    data: Path | None
    prompts: Path | None
    attack: str | None
    behaviour: str | None
    template: str


def run_identity(asked: Asked, options: Options, subject: Subject) -> dict[str, object]:
    """The identity of a run as plain JSON values; a run folder is resumed only under an equal one."""
    parameter = next(subject.model.parameters())
    environment = environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads())
    return {
        "model": _files(subject.source),
        "access": subject.access,
        "options": options.model_dump(mode="json"),
        "data": None if asked.data is None else sha256(asked.data),
        "prompts": None if asked.prompts is None else sha256(asked.prompts),
        "attack": asked.attack,
        "behaviour": asked.behaviour,
        "template": asked.template,
        "environment": environment.model_dump(mode="json"),
    }


def _files(source: Source) -> dict[str, object]:
    base = None if source.base is None else _files(source.base)
    return {"reference": source.reference, "commit": source.commit, "files": dict(source.files), "base": base}
