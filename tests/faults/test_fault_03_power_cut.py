"""Fault 3: a power cut loses what was not waited for, so nothing gets its name before its data are on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jobs_options import SMALL, SMALL_ATTACK
from tiny import save_tiny_adapter
from untrigger.files import publish_folder, write_text_atomic
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.training_state import TrainingState, save_state


class Disk:
    """What is on the disk for sure: the state of every file and folder when it was last waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.safe: dict[int, tuple[int, int]] = {}
        self.renamed: list[Path] = []
        self.early: list[str] = []
        self._waiting: dict[Path, Path] = {}
        fsync, rename, replace = os.fsync, os.rename, os.replace
        monkeypatch.setattr(os, "fsync", lambda descriptor: self._sync(descriptor, fsync))
        monkeypatch.setattr(os, "rename", lambda source, target: self._rename(source, target, rename))
        monkeypatch.setattr(os, "replace", lambda source, target: self._rename(source, target, replace))

    def forgotten(self) -> list[Path]:
        """New names whose folder was not waited for."""
        return [name for name in self._waiting if name.exists()]

    def _sync(self, descriptor: int, fsync: Callable[[int], None]) -> None:
        fsync(descriptor)
        found = os.fstat(descriptor)
        self.safe[found.st_ino] = (found.st_mtime_ns, found.st_size)
        self._waiting = {
            name: parent for name, parent in self._waiting.items() if parent.stat().st_ino != found.st_ino
        }

    def _rename(self, source: os.PathLike, target: os.PathLike, rename: Callable[..., None]) -> None:
        source, target = Path(source), Path(target)
        for path in (source, *source.rglob("*")) if source.is_dir() else (source,):
            found = path.stat()
            if self.safe.get(found.st_ino) != (found.st_mtime_ns, found.st_size) and target.suffix != ".old":
                self.early.append(f"{path.relative_to(source.parent)} -> {target.name}")
        rename(source, target)
        self.renamed.append(target)
        self._waiting[target] = target.parent


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_fault_03_power_cut_in_a_purification(tmp_path, suspect, records, disk):
    adapter = save_tiny_adapter(tmp_path / "adapter", suspect)
    disk.renamed.clear(), disk.early.clear()
    purify(Request(str(adapter), tmp_path / "out", base=str(suspect), data=records, keep_run=True), SMALL)
    assert {"run.json", "pair-01", "signature", "repair", "poisoned.safetensors", "out"} <= {
        n.name for n in disk.renamed
    }
    assert not disk.early and not disk.forgotten()


def test_fault_03_power_cut_while_a_backdoor_is_planted(tmp_path, suspect, records, disk):
    attack(AttackRequest(str(suspect), tmp_path / "out", data=records, prompts=records), SMALL_ATTACK)
    assert "out" in {name.name for name in disk.renamed}
    assert not disk.early and not disk.forgotten()


def test_fault_03_power_cut_around_the_state_of_a_training(tmp_path, disk):
    parameters = {"a": torch.nn.Parameter(torch.ones(2))}
    optimiser = torch.optim.AdamW(parameters.values())
    parameters["a"].grad = torch.ones(2)
    optimiser.step()
    for step in (1, 2):
        save_state(tmp_path / "state", TrainingState(step=step), parameters, optimiser)
    assert [name.name for name in disk.renamed] == ["state", "state.old", "state"]
    assert not disk.early and not disk.forgotten()


def test_fault_03_power_cut_after_a_text_or_a_folder(tmp_path, disk):
    def build(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("1")

    write_text_atomic(tmp_path / "text", "1")
    publish_folder(build, tmp_path / "folder")
    assert [name.name for name in disk.renamed] == ["text", "folder"]
    assert not disk.early and not disk.forgotten()


def test_fault_03_the_check_itself_sees_what_was_not_waited_for(tmp_path, disk):
    (tmp_path / "half").write_text("1")
    (tmp_path / "half").rename(tmp_path / "whole")
    assert disk.early == ["half -> whole"]
    assert disk.forgotten() == [tmp_path / "whole"]
