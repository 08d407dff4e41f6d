"""Fault 4: a bit flips in what is finished: the stage is made again, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs_options import SMALL
from untrigger.errors import Interrupted, UsageError
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.runs import open_run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class Watcher(Silent):
    """Stops at a training, and keeps what it is told."""

    def __init__(self, stops_at: str = "") -> None:
        self.stops_at, self.stopping = stops_at, False
        self.stages: dict[str, bool] = {}
        self.notes: list[str] = []

    def stage(self, name, finished):
        self.stages[name] = finished

    def training(self, label, progress):
        self.stopping = self.stopping or label == self.stops_at

    def note(self, text):
        self.notes.append(text)

    def stop(self):
        return self.stopping


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("twin/twin.safetensors", "twin"),
        ("pair-01/pair.safetensors", "pair-01"),
        ("signature/signature.safetensors", "signature"),
        ("before/measurement.json", "before"),
        ("records/COMPLETE", "records"),
    ],
)
def test_fault_04_bit_flip_in_a_finished_stage(tmp_path, suspect, records, file, stage):
    purify(Request(str(suspect), tmp_path / "whole", data=records), SMALL)
    request = Request(str(suspect), tmp_path / "out", data=records)
    stops_at = "injection" if stage == "signature" else "pair 2 of 2 poisoned"
    with pytest.raises(Interrupted):
        purify(request, SMALL, Watcher(stops_at))
    flip(tmp_path / "out.run" / file)
    again = Watcher()
    purify(request, SMALL, again)
    said = [note for note in again.notes if "made again" in note]
    assert len(said) == 1 and said[0].startswith(f"{stage} was finished, but")
    assert again.stages[stage] is False and again.stages["suspect"] is True
    assert sha256(tmp_path / "out" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


def test_fault_04_bit_flip_in_the_output_is_told_when_it_is_asked_for_again(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records)
    purify(request, SMALL)
    flip(tmp_path / "out" / "model.safetensors")
    with pytest.raises(UsageError, match=r"damaged: model\.safetensors"):
        purify(request, SMALL)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b"null", b'{"seed": ' + b"[" * 5000])
def test_fault_04_an_unreadable_identity_is_told(tmp_path, content):
    with open_run(tmp_path / "run", {}):
        pass
    (tmp_path / "run" / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json cannot be read"), open_run(tmp_path / "run", {}):
        pass
