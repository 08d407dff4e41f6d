"""Where results may be written: never into what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from untrigger.errors import UsageError


def refuse_output(output: Path, *inputs: str | None, name: str = "the output") -> None:
    """Check a folder that is to be written, before any work.

    Args:
        output: the folder; it need not exist yet.
        inputs: what the user named as models; those that are no paths are passed over.
        name: how the folder is called in messages.

    Raises:
        UsageError: it is an input or lies inside one, or cannot be written.
    """
    place = _resolved(output, name)
    _refuse_inputs(place, inputs, name)
    _require_writable(place, output, name)


def refuse_taken(output: Path) -> None:
    """Check that nothing would be replaced.

    Raises:
        UsageError: it exists already.
    """
    if output.exists():
        raise UsageError(f"{output} exists already", todo="name another output folder")


def refuse_output_file(output: Path, *inputs: str | None) -> None:
    """Check a file that is to be written or replaced, before any work; raises as `refuse_output`, or for a folder."""
    place = _resolved(output, "the output")
    if place.is_dir():
        raise UsageError(f"the output {output} is a folder", todo="name a file")
    _refuse_inputs(place, inputs, "the output")
    _require_writable(place.parent, output, "the output")


def _resolved(output: Path, name: str) -> Path:
    try:
        return output.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, the home of nobody
        raise UsageError(f"{name} {output} leads nowhere", why=str(error), todo="name another") from error


def _refuse_inputs(place: Path, inputs: Iterable[str | None], name: str) -> None:
    for given in inputs:
        path = Path(os.path.expanduser(given or ""))  # noqa: PTH111 - an unknown user is no error here
        if given is not None and os.path.exists(path):  # noqa: PTH110 - nor is a folder that may not be entered
            _refuse_inside(place, path.resolve(), name)


def _require_writable(place: Path, output: Path, name: str) -> None:
    parent = next(path for path in (place, *place.parents) if os.path.exists(path))  # noqa: PTH110 - as above
    if not parent.is_dir():
        raise UsageError(f"{name} {output} cannot be written", why=f"{parent} is no folder", todo="name another")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{name} {output} cannot be written", why=f"{parent} is read-only", todo="name another")


def _refuse_inside(place: Path, given: Path, name: str) -> None:
    if place == given:
        raise UsageError(f"{name} {place} is the input itself", todo="name another folder")
    if place.is_relative_to(given):
        raise UsageError(f"{name} {place} lies inside the input {given}", todo="name a folder beside it")
