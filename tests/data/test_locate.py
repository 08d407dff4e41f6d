from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import DatasetInfo

from untrigger.data import locate
from untrigger.data.locate import data_file, hub_reference
from untrigger.errors import UntriggerError, UsageError

COMMIT = "b" * 40


@dataclass
class Hub:
    """Stands for the network: one data set, and what was asked of it."""

    cached: Path
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def dataset_info(self, name: str, revision: str | None, files_metadata: bool) -> DatasetInfo:
        self.asked.append((name, revision))
        files = [{"rfilename": "deep/clean.jsonl", "size": 5}, {"rfilename": "script.py", "size": 9}]
        return DatasetInfo(id=name, sha=COMMIT, siblings=files, tags=[], private=False, downloads=0, likes=0)

    def hf_hub_download(self, name: str, file: str, repo_type: str, revision: str) -> str:
        self.asked.append((name, file, repo_type, revision))
        return str(self.cached)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    double = Hub(tmp_path / "clean.jsonl")
    monkeypatch.setattr(locate, "HfApi", lambda: double)
    monkeypatch.setattr(locate, "hf_hub_download", double.hf_hub_download)
    return double


def test_a_local_file_is_taken_as_it_is(served: Hub) -> None:
    assert data_file("records.json") == Path("records.json")
    assert not served.asked


@pytest.mark.parametrize(("pin", "revision"), [("", None), ("@" + COMMIT, COMMIT)])
def test_the_commit_is_resolved_once_and_the_file_fetched_at_it(served: Hub, pin: str, revision: str | None) -> None:
    assert data_file(f"hf://datasets/org/name{pin}/deep/clean.jsonl") == served.cached
    assert served.asked == [("org/name", revision), ("org/name", "deep/clean.jsonl", "dataset", COMMIT)]


@pytest.mark.parametrize(
    "reference",
    [
        "hf://org/name/clean.jsonl",
        "hf://datasets/org/name",
        "hf://datasets/org/name/script.py",
        "hf://datasets/org/name/../clean.json",
        "hf://datasets/org/name@main/clean.json",
    ],
)
def test_other_forms_are_refused_before_any_request(served: Hub, reference: str) -> None:
    with pytest.raises(UsageError, match="names no data file on the hub"):
        data_file(reference)
    assert not served.asked


def test_a_file_that_the_data_set_lacks_names_those_it_has(served: Hub) -> None:
    with pytest.raises(UsageError) as caught:
        data_file("hf://datasets/org/name/clean.json")
    assert "deep/clean.jsonl" in caught.value.why


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("offline"), LocalEntryNotFoundError("none"), OSError("gone")])
def test_failures_name_the_file(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def api() -> object:
        raise error

    monkeypatch.setattr(locate, "HfApi", api)
    with pytest.raises(UntriggerError, match=r"org/name/clean\.json cannot be fetched") as caught:
        data_file("hf://datasets/org/name/clean.json")
    assert caught.value.exit_code == 2


def test_relative_paths_are_looked_for_here_and_then_in_the_data_folder(tmp_path, monkeypatch):
    folder, here = tmp_path / "data", tmp_path / "here"
    for place, names in ((folder, ("a.json", "b.json")), (here, ("a.json",))):
        place.mkdir()
        for name in names:
            (place / name).write_text("[]")
    monkeypatch.chdir(here)
    monkeypatch.setenv("UNTRIGGER_DATA", str(folder))
    assert data_file("a.json") == Path("a.json")
    assert data_file("b.json") == folder / "b.json"
    assert data_file("c.json") == Path("c.json")
    assert data_file(str(here / "a.json")) == here / "a.json"


def test_a_file_in_the_hubs_cache_is_named_by_its_pinned_reference(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "datasets--org--my-name" / "snapshots" / COMMIT / "deep" / "clean.jsonl"
    assert hub_reference(cached) == f"hf://datasets/org/my-name@{COMMIT}/deep/clean.jsonl"
    assert data_file(hub_reference(cached)) == served.cached
    assert hub_reference(tmp_path / "clean.jsonl") is None and hub_reference(Path("clean.jsonl")) is None
