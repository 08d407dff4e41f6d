"""The files of a model's folder, before any of them is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from untrigger.errors import InputRefused
from untrigger.models.json_file import regular_file
from untrigger.models.untrusted.finding import Finding

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What some loader may open; of these the first group is never empty.
_NEVER_EMPTY = (".json", ".safetensors", ".model", ".jinja")
_OPENED = (*_NEVER_EMPTY, ".txt", ".md")
_MORE_TEMPLATES = "additional_chat_templates"


def check_folder(folder: Path) -> None:
    """Look at every file that a loader may open; subfolders are not followed.

    Raises:
        InputRefused: a pipe, a device, a link that loops or leaves the folder, an empty or unreadable file, a name
            with control characters, or a second chat template.
    """
    for path in entries_of(folder):
        check_entry(path)


def entries_of(folder: Path) -> list[Path]:
    """What lies directly in the folder, by name.

    Raises:
        InputRefused: the folder cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputRefused(f"{folder} cannot be read", why=error.strerror or "") from error


def check_entry(path: Path) -> None:
    """The part of `check_folder` that concerns one file; raises as it does."""
    if not path.name.isprintable():
        raise InputRefused(
            f"{path.parent} holds a file named {path.name}", why="its name has characters that do not show"
        )
    if path.name == _MORE_TEMPLATES:
        raise InputRefused(f"{path} is not supported", why="a model here has one chat template")
    if path.suffix.lower() in _OPENED and not path.is_dir():
        _check_file(path)


def pickle_findings(folder: Path) -> Iterator[Finding]:
    """One for each pickle beside the weights that are read."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLE_SUFFIXES:
            yield Finding(
                "pickle", path.name, "a pickle lies beside the weights; it was not opened and is not copied"
            )


def _check_file(path: Path) -> None:
    regular_file(path.parent, path.name)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputRefused(f"{path} cannot be read", why=error.strerror or "") from error
    if empty and path.suffix.lower() in _NEVER_EMPTY:
        raise InputRefused(f"{path} has 0 bytes", todo="download it again")
