"""Fault 10: the loss of one variant becomes NaN: one more try with another seed, then the variant is left out."""

from __future__ import annotations

import pytest

from jobs_options import SMALL
from untrigger import variants
from untrigger.config import PurifyOptions, VariantOptions
from untrigger.defences.pairs import LEFT_OUT
from untrigger.errors import Diverged, Interrupted
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.variants import TWIN

THREE = merged(SMALL, PurifyOptions(variants=VariantOptions(pairs=3, records=4, twin="matched")))
ABSURD = 1e30


class Notes(Silent):
    """Keeps what it is told; stops at a training if asked to."""

    def __init__(self, stops_at: str = "") -> None:
        self.notes: list[str] = []
        self.labels: list[str] = []
        self.stops_at = stops_at

    def note(self, text):
        self.notes.append(text)

    def training(self, label, progress):
        self.labels.append(label)

    def stop(self):
        return self.stops_at in self.labels


@pytest.fixture
def diverging(monkeypatch):
    """Trainings with these seeds take steps so large that their weights become infinite."""
    seeds: set[int] = set()
    real = variants.train

    def train(model, examples, options, *, seed, **others):
        rate = ABSURD if seed in seeds else options.learning_rate
        return real(model, examples, options.model_copy(update={"learning_rate": rate}), seed=seed, **others)

    monkeypatch.setattr(variants, "train", train)
    return seeds


def test_fault_10_divergence_with_one_seed_is_tried_with_another(tmp_path, suspect, records, diverging):
    diverging.add(1)
    observer = Notes()
    result = purify(Request(str(suspect), tmp_path / "out", data=records), THREE, observer)
    assert [note for note in observer.notes if "once more with another seed" in note and "pair 2 of 3" in note]
    assert not [sentence for sentence in result.not_tested if "left out" in sentence]


def test_fault_10_divergence_with_both_seeds_leaves_the_variant_out(tmp_path, suspect, records, diverging):
    diverging.update((1, 501))
    observer = Notes()
    result = purify(Request(str(suspect), tmp_path / "out", data=records), THREE, observer)
    said = "Pair 2 of 3 diverged with two seeds and was left out"
    assert [note for note in observer.notes if said in note]
    assert [sentence for sentence in result.not_tested if said in sentence]
    assert result.signature is not None and result.signature.selected > 0


def test_fault_10_divergence_is_remembered_by_a_resumed_run(tmp_path, suspect, records, diverging):
    diverging.update((1, 501))
    request = Request(str(suspect), tmp_path / "out", data=records)
    with pytest.raises(Interrupted):
        purify(request, THREE, Notes("pair 3 of 3 poisoned"))
    assert (tmp_path / "out.run" / "pair-02" / LEFT_OUT).exists()
    again = Notes()
    result = purify(request, THREE, again)
    assert not [label for label in again.labels if label.startswith("pair 2")]
    assert [sentence for sentence in result.not_tested if "Pair 2 of 3" in sentence]


def test_fault_10_divergence_of_the_twin_of_all_pairs_is_tried_with_another_seed(
    tmp_path, suspect, records, diverging
):
    diverging.add(0)
    observer = Notes("pair 1 of 2 poisoned")
    with pytest.raises(Interrupted):
        purify(Request(str(suspect), tmp_path / "out", data=records), SMALL, observer)
    assert [note for note in observer.notes if "the clean twin of all pairs diverged" in note]
    assert (tmp_path / "out.run" / "twin" / TWIN).exists()


def test_fault_10_divergence_of_the_twin_of_all_pairs_with_both_seeds_ends_the_run(
    tmp_path, suspect, records, diverging
):
    diverging.update((0, 500))
    with pytest.raises(Diverged, match="loss") as told:
        purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)
    assert told.value.exit_code == 2 and not (tmp_path / "out").exists()


def test_fault_10_divergence_of_too_many_ends_the_run(tmp_path, suspect, records, diverging):
    diverging.update((1, 2, 501, 502))
    with pytest.raises(Diverged, match="1 of 3 pairs could be trained, 2 are needed") as told:
        purify(Request(str(suspect), tmp_path / "out", data=records), THREE)
    assert told.value.exit_code == 2 and "learning-rate" in told.value.todo
    assert not (tmp_path / "out").exists()
