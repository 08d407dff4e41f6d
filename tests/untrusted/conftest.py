"""Nothing here may reach the network, and every refusal is quick."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny import save_tiny, save_tiny_adapter


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections and look-ups are refused, and a test in which one was tried fails."""
    tried: list[object] = []

    def refuse(*arguments: object) -> None:
        tried.append(arguments)
        raise OSError("no network in tests")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not tried


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and an adapter for it, to be copied."""
    root = tmp_path_factory.mktemp("made")
    save_tiny_adapter(root / "adapter", save_tiny(root / "model"))
    return root


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five layers and a plain adapter for it."""
    root = tmp_path_factory.mktemp("deep")
    save_tiny_adapter(root / "adapter", save_tiny(root / "model", num_hidden_layers=5))
    return root


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "model", tmp_path / "model"))


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))
