"""Titration inside a purification; a random model learns no canaries, so what they do is told by a double."""

from __future__ import annotations

import json

import pytest

from jobs_options import ONE_EPOCH, SMALL
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import PurifyOptions, TitrationOptions
from untrigger.defences import titration
from untrigger.errors import Interrupted, UntriggerError
from untrigger.evaluation.rate import Rate
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.titration import LADDERS

TITRATED = merged(
    SMALL,
    PurifyOptions(
        titration=TitrationOptions(
            canaries=2, records=3, prompts=2, relearning_records=2, train=ONE_EPOCH, relearning=ONE_EPOCH
        )
    ),
)


@pytest.fixture
def survivors(monkeypatch):
    """Lets a test say how many of ten prompts canaries survive on, by the label of the measurement."""

    def tell(**shares: list[int]) -> None:
        def survival(_, label: str) -> Rate:
            return Rate(shares[label.replace("-", "")].pop(0), 10)

        monkeypatch.setattr(titration.Titration, "survival", survival)

    return tell


def test_canaries_that_do_not_take_end_the_run_with_advice(tmp_path, records):
    suspect = save_tiny(tmp_path / "suspect")
    with pytest.raises(UntriggerError, match=r"canaries are obeyed on 0 of 4 .*--titration\.train\.learning-rate"):
        purify(Request(str(suspect), tmp_path / "out", data=records), TITRATED)
    assert not (tmp_path / "out").exists()


def test_the_weakest_strength_that_kills_the_canaries_is_applied(tmp_path, records, survivors):
    survivors(canaries=[9], treated=[5, 0, 0], relearned=[6, 3, 0])
    base = save_tiny(tmp_path / "base")
    suspect = save_tiny_adapter(tmp_path / "suspect", base)
    result = purify(Request(str(suspect), tmp_path / "out", base=str(base), data=records), TITRATED)
    titre, third = result.titre, LADDERS["adapter"][2]
    assert titre is not None and titre.met and titre.chosen == 2 and len(titre.rungs) == 3
    assert [rung.worst for rung in titre.rungs] == [0.6, 0.3, 0.0]
    assert (titre.rung.ratio, titre.rung.remainder) == (third.ratio, third.remainder)
    assert result.signature is not None and result.signature.ratio == third.ratio
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stored["titre"]["planted"]["hits"] == 9
    assert "canaries" in " ".join(result.not_tested)


def test_without_a_strength_that_holds_the_best_is_applied_and_said(tmp_path, records, survivors):
    survivors(canaries=[10], treated=[9, 2, 4, 4, 4], relearned=[9, 3, 4, 4, 4])
    suspect = save_tiny(tmp_path / "suspect")
    result = purify(Request(str(suspect), tmp_path / "out", data=records), TITRATED)
    assert result.titre is not None and not result.titre.met and result.titre.chosen == 1
    assert "missed the target" in (tmp_path / "out" / "README.md").read_text()


class StopsAt(Silent):
    """Asks to stop when a stage begins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stage(self, name: str, finished: bool) -> None:
        if name == self.name and not finished:
            raise Interrupted("asked to stop")


def test_an_interrupted_titration_ends_as_an_unbroken_one(tmp_path, records, survivors):
    suspect = save_tiny(tmp_path / "suspect")
    hashes = []
    for name, stop in (("whole", ""), ("broken", "rung-2")):
        survivors(canaries=[9], treated=[5, 0], relearned=[6, 0])
        request = Request(str(suspect), tmp_path / name, data=records)
        if stop:
            with pytest.raises(Interrupted):
                purify(request, TITRATED, StopsAt(stop))
        purify(request, TITRATED)
        hashes.append(sha256(tmp_path / name / "model.safetensors"))
    assert hashes[0] == hashes[1]
