from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import ModelInfo

from untrigger.errors import UntriggerError
from untrigger.models import hub

COMMIT = "a" * 40
CONTENT = b"weights"


@dataclass
class Hub:
    """Stands for the network: one model, and what was asked of it."""

    snapshot: Path
    announced: str
    asked: list[tuple[str, object]]

    def model_info(self, model: str, revision: str | None, files_metadata: bool) -> ModelInfo:
        self.asked.append((model, revision))
        lfs = {"size": len(CONTENT), "sha256": self.announced, "pointerSize": 100}
        files = [{"rfilename": "model.safetensors", "size": len(CONTENT), "lfs": lfs}, {"rfilename": "config.json"}]
        return ModelInfo(id=model, sha=COMMIT, siblings=files, tags=[], private=False, downloads=0, likes=0)

    def snapshot_download(self, model: str, revision: str, **options: object) -> str:
        self.asked.append((model, revision))
        assert not any("bin" in pattern or "py" in pattern for pattern in options["allow_patterns"])
        return str(self.snapshot)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    double = Hub(tmp_path, hashlib.sha256(CONTENT).hexdigest(), [])
    monkeypatch.setattr(hub, "HfApi", lambda: double)
    monkeypatch.setattr(hub, "snapshot_download", double.snapshot_download)
    return double


@pytest.mark.parametrize(
    ("reference", "revision"),
    [("org/name", None), ("hf://org/name@" + COMMIT, COMMIT), ("org/name@" + COMMIT, COMMIT)],
)
def test_the_commit_is_resolved_once_and_recorded(served: Hub, reference: str, revision: str | None) -> None:
    source = hub.download(reference)
    assert served.asked[0] == ("org/name", revision) and set(served.asked[1:]) == {("org/name", COMMIT)}
    assert (source.reference, source.commit, source.folder) == (reference, COMMIT, served.snapshot)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", True),
        ("hf://org/name", True),
        ("name", False),
        ("./org/name", False),
        ("../name", False),
        ("/org/name", False),
        ("org/name/file", False),
        ("org/name@main", False),
        ("https://evil.example/x", False),
        ("org/na me", False),
        ("org/name\n", False),
    ],
)
def test_what_counts_as_a_hub_id(text: str, expected: bool) -> None:
    assert hub.is_hub_reference(text) is expected


def test_fault_9_a_file_with_another_hash_is_refused(served: Hub) -> None:
    (served.snapshot / "model.safetensors").write_bytes(b"<html>")
    with pytest.raises(UntriggerError, match=r"model\.safetensors differs from what the hub announced"):
        hub.download("org/name")


def raises(error: Exception) -> Callable[[], object]:
    def api() -> object:
        raise error

    return api


@pytest.mark.parametrize(
    "error",
    [OfflineModeIsEnabled("offline"), LocalEntryNotFoundError("none"), HFValidationError("bad"), OSError("")],
)
def test_bad_input_37_failures_name_the_model(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(hub, "HfApi", raises(error))
    with pytest.raises(UntriggerError, match="org/name") as caught:
        hub.download("org/name")
    assert caught.value.exit_code == 2


def test_bad_input_37_a_full_disk_is_told_before_the_download(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, needed: int) -> None:
        raise UntriggerError(f"{needed} bytes needed")

    monkeypatch.setattr(hub, "require_space", refuse)
    with pytest.raises(UntriggerError, match=f"{len(CONTENT)} bytes needed"):
        hub.download("org/name")
    assert served.asked == [("org/name", None)]
