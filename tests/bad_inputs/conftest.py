"""A place with good files, the command in this process, and no network."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cases import Place

from tiny import save_tiny, save_tiny_adapter


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, an adapter for it and twelve records, to be copied."""
    root = tmp_path_factory.mktemp("good")
    save_tiny_adapter(root / "adapter", save_tiny(root / "model"))
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    (root / "clean.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # some cases look at them as another user
    return root


@pytest.fixture
def place(good: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name).resolve()
        shutil.copytree(good, root, dirs_exist_ok=True)
        root.chmod(0o755)
        monkeypatch.setenv("UNTRIGGER_CACHE", str(root / "cache"))
        found = Place(root, monkeypatch, stack)
        tried = _guard(found)
        yield found
    assert not tried


def _guard(place: Place) -> list[object]:
    """Refuses every connection and look-up but those to the place's own ports; what was tried."""
    tried: list[object] = []

    def guarded(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if not any(_leads_to(place.ports, argument) for argument in arguments):
                tried.append(arguments)
                raise OSError("no network in tests")
            return original(*arguments, **options)

        return call

    for name in ("connect", "connect_ex", "sendto"):
        place.patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    place.patch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo))
    return tried


def _leads_to(ports: set[int], argument: object) -> bool:
    return (argument[1] if isinstance(argument, tuple) else argument) in ports
