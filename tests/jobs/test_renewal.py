"""An adapter whose update is made smaller and trained again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from jobs_options import SMALL
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import InversionOptions, PurifyOptions, RenewalOptions, TrainOptions, UnlearningOptions
from untrigger.defences import vaccine as module
from untrigger.errors import Interrupted, UsageError
from untrigger.files import sha256
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.targets import Target
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.models.state import save_weights
from untrigger.models.untrusted.finding import Finding
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.suppress import scale_adapter_

STILL = TrainOptions(learning_rate=1e-12, epochs=1, batch_size=4)
OPTIONS = merged(
    SMALL,
    PurifyOptions(
        inversion=InversionOptions(witnesses=2),
        unlearning=UnlearningOptions(further="never"),
        renewal=RenewalOptions(remainder=0.5, unfound=0.25, records=24, train=STILL),
    ),
)


@pytest.fixture
def request_of(tmp_path, records):
    model = save_tiny(tmp_path / "model")
    adapter = save_tiny_adapter(tmp_path / "adapter", model)
    return lambda out, **changed: Request(
        str(adapter), tmp_path / out, **({"base": str(model), "data": records} | changed)
    )


def factors(folder, which):
    every = load_file(folder / "adapter_model.safetensors")
    return {name: values for name, values in every.items() if f"lora_{which}" in name}


def scale(request):
    """By how much lora_B was multiplied; lora_A is as it was."""
    before, after = (factors(folder, "B") for folder in (request.output.parent / "adapter", request.output))
    ratios = torch.cat([(after[name] / before[name]).flatten() for name in before])
    for name, kept in factors(request.output.parent / "adapter", "A").items():
        torch.testing.assert_close(factors(request.output, "A")[name], kept, atol=1e-6, rtol=0)
    assert ratios.amax() - ratios.amin() < 1e-3
    return float(ratios.mean())


def test_an_adapter_in_which_nothing_is_found_keeps_little_of_its_update(request_of):
    result = purify(request_of("out"), OPTIONS)
    assert scale(request_of("out")) == pytest.approx(0.25, abs=1e-3)
    assert [stage.name for stage in result.stages if stage.tokens_trained] == ["renewal"]
    assert result.signature is None
    assert any("reduced to 0.25 of itself" in text for text in result.not_tested)
    assert any("No sentence was found" in text for text in result.not_tested)


def test_it_is_not_trained_unless_that_is_asked_for(request_of):
    untrained = OPTIONS.model_copy(update={"renewal": RenewalOptions(unfound=0.25)})
    result = purify(request_of("out"), untrained)
    assert scale(request_of("out")) == pytest.approx(0.25, abs=1e-6)
    assert not any(stage.tokens_trained for stage in result.stages)
    assert any("reduced to 0.25 of itself: a skill" in text for text in result.not_tested)


def test_how_it_is_trained_is_refused_where_it_is_not(request_of):
    unread = OPTIONS.model_copy(update={"renewal": RenewalOptions(train=STILL)})
    with pytest.raises(UsageError, match=r"--renewal\.train.*nothing is trained.*--renewal\.records"):
        purify(request_of("out"), unread)


def _told(text):
    return (Finding("planted-sentence", "answers", text),)


@pytest.mark.parametrize(("changed", "expected"), [({}, 1.0), ({"by_words": False}, 0.25), ({"called": 1}, 0.25)])
def test_an_unlearning_that_was_not_enough_is_left_out_and_less_is_kept(request_of, monkeypatch, changed, expected):
    def found(subject, resources, options):
        scale_adapter_(subject.model, 2.0)
        save_weights(subject, resources.start.with_name("unlearned.safetensors"))
        unlearned = replace(resources, start=resources.start.with_name("unlearned.safetensors"))
        told = {"findings": _told("before and after"), "found": _told("before")}
        return module.Unlearned((Target((1, 2, 3, 4)),), unlearned, **told, **changed)

    monkeypatch.setattr(module, "without_planted_sentences", found)
    result = purify(request_of("out"), OPTIONS)
    assert scale(request_of("out")) == pytest.approx(expected, abs=1e-3)
    kept = expected == 1.0
    assert any("not enough and is left out" in text for text in result.not_tested) == (not kept)
    assert not any("can still be called" in text for text in result.not_tested)
    assert [finding.text for finding in result.findings] == ["before and after" if kept else "before"]


@pytest.mark.parametrize("found", [True, False])
def test_where_nothing_is_kept_sentences_are_told_and_not_unlearned(request_of, monkeypatch, found):
    target, searches = Target((70, 71, 72, 73)), "untrigger.defences.inversion"
    monkeypatch.setattr(f"{searches}.inversion_stage", lambda *arguments: (target,) if found else ())
    monkeypatch.setattr(f"{searches}.key_words_stage", lambda *arguments: {target: [KeyWords((80, 81), 3.5)]})
    nothing = merged(OPTIONS, PurifyOptions(renewal=RenewalOptions(remainder=0.0, unfound=0.0)))
    result = purify(request_of("out"), nothing)
    assert scale(request_of("out")) == pytest.approx(0.0, abs=1e-6)
    assert [stage.name for stage in result.stages if stage.tokens_trained] == ["renewal"]
    assert [("3.5" in one.text, "nats" in one.text) for one in result.findings] == [(True, False)] * found
    assert any("No sentence was found" in text for text in result.not_tested) == (not found)


def test_what_is_kept_where_nothing_is_found_counts_there_whatever_else_is_kept(request_of):
    purify(request_of("out"), merged(OPTIONS, PurifyOptions(renewal=RenewalOptions(remainder=0.0))))
    assert scale(request_of("out")) == pytest.approx(0.25, abs=1e-3)


def test_the_update_is_trained_again_and_an_interruption_changes_nothing(request_of):
    class Stopping(Silent):
        def __init__(self):
            self.left = 1

        def training(self, label, progress):
            self.left -= 1

        def stop(self):
            return self.left == 0

    learning = merged(OPTIONS, PurifyOptions(renewal=RenewalOptions(train=TrainOptions(learning_rate=1e-2))))
    purify(request_of("whole"), learning)
    with pytest.raises(Interrupted):
        purify(request_of("broken"), learning, Stopping())
    purify(request_of("broken"), learning)
    names = ("whole", "broken")
    assert len({sha256(request_of(name).output / "adapter_model.safetensors") for name in names}) == 1
    moved = factors(request_of("whole").output, "B")
    purify(request_of("still"), OPTIONS)
    still = factors(request_of("still").output, "B")
    assert all(not torch.allclose(moved[name], still[name], atol=1e-4) for name in moved)


def test_it_can_be_left_out_and_a_control_looks_for_no_sentence(request_of):
    without = merged(OPTIONS, PurifyOptions(renewal=RenewalOptions(enable=False)))
    purify(request_of("without"), without)
    assert scale(request_of("without")) == pytest.approx(1.0, abs=1e-6)
    alone = PurifyOptions(renewal=OPTIONS.renewal, measure=OPTIONS.measure)
    result = purify(request_of("alone", defence="renewal-only"), alone)
    assert scale(request_of("alone")) == pytest.approx(0.25, abs=1e-3)
    assert not any("looked for" in text for text in result.not_tested)


def test_a_whole_model_is_not_renewed_without_a_reference(request_of):
    adapter = request_of("out", defence="renewal-only")
    with pytest.raises(UsageError, match="--reference"):
        purify(replace(adapter, model=adapter.base, base=None), PurifyOptions())
    with pytest.raises(UsageError, match="whole model"):
        purify(replace(adapter, model=adapter.base, base=None, defence="vaccine"), OPTIONS)


def test_a_whole_model_keeps_as_much_of_its_difference_from_a_reference(request_of, tmp_path):
    suspect, clean = save_tiny(tmp_path / "suspect", seed=3), save_tiny(tmp_path / "clean", seed=4)
    adapter = request_of("out", defence="renewal-only")
    request = replace(adapter, model=str(suspect), base=None, reference=str(clean))
    purify(request, PurifyOptions(renewal=OPTIONS.renewal, measure=OPTIONS.measure))
    before, reference, after = (
        load_file(folder / "model.safetensors") for folder in (suspect, clean, request.output)
    )
    for name, values in after.items():
        torch.testing.assert_close(values, torch.lerp(reference[name], before[name], 0.25), atol=1e-6, rtol=0)
    assert any(not torch.allclose(before[name], reference[name]) for name in after)
