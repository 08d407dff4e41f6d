"""Rival defences through `purify`, in both settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jobs_options import FEW_PROMPTS, read_by, treated
from jobs_options import SMALL as OURS
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import (
    BudgetOptions,
    EntrapmentOptions,
    KnownKeyOptions,
    MixingOptions,
    PurifyOptions,
    RandomOptions,
)
from untrigger.defences.mixing import drawn
from untrigger.defences.registry import DEFENCES, defence
from untrigger.errors import Interrupted, UsageError
from untrigger.files import sha256
from untrigger.jobs.opening import READ_BY_ALL
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent

SMALL = PurifyOptions(
    budget=BudgetOptions(records=6, epochs=1, batch_size=4),
    entrapment=EntrapmentOptions(inner_steps=1),
    measure=FEW_PROMPTS,
)
TRAINED = {
    "crow": ["consistency"],
    "crow-1e-3": ["consistency"],
    "fine-mixing": ["fine-mixing"],
    "locphylax": ["injection", "recovery"],
    "inject-unlearn": ["injection", "recovery"],
    "beear": ["entrapment"],
}
WITH_REFERENCE = ("merge", "fine-mixing")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model", num_hidden_layers=3)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "clean", num_hidden_layers=3, seed=1)


@pytest.fixture
def adapter(tmp_path: Path, model: Path) -> Path:
    return save_tiny_adapter(tmp_path / "adapter", model)


class StopAfter(Silent):
    """Asks to stop at the given training step of the whole run."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def training(self, label, progress):
        self.left -= 1

    def stop(self):
        return self.left <= 0


def weights(folder: Path) -> dict[str, torch.Tensor]:
    file = "adapter_model.safetensors" if (folder / "adapter_model.safetensors").exists() else "model.safetensors"
    return load_file(folder / file)


@pytest.mark.parametrize("name", TRAINED)
def test_a_whole_model_is_treated_and_written(tmp_path, model, clean, records, name):
    reference = str(clean) if name in WITH_REFERENCE else None
    request = Request(str(model), tmp_path / "out", data=records, defence=name, reference=reference)
    result = treated(request, SMALL)
    assert [s.name for s in result.stages if s.tokens_trained] == TRAINED[name]
    before, after = weights(model), weights(tmp_path / "out")
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    assert not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


@pytest.mark.parametrize("name", TRAINED)
def test_an_adapter_is_treated_and_stays_an_adapter(tmp_path, model, adapter, records, name):
    request = Request(str(adapter), tmp_path / "out", base=str(model), data=records, defence=name)
    result = treated(request, SMALL)
    assert [s.name for s in result.stages if s.tokens_trained] == TRAINED[name]
    before, after = weights(adapter), weights(tmp_path / "out")
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["crow", "beear", "locphylax"])
def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path, model, records, name):
    treated(Request(str(model), tmp_path / "whole", data=records, defence=name), SMALL)
    broken = Request(str(model), tmp_path / "broken", data=records, defence=name)
    with pytest.raises(Interrupted):
        treated(broken, SMALL, StopAfter(1))
    treated(broken, SMALL)
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "broken/model.safetensors")


def test_it_is_told_whether_the_known_keys_took(tmp_path, model, records):
    class Notes(Silent):
        told = ""

        def note(self, text):
            self.told += text

    notes = Notes()
    treated(Request(str(model), tmp_path / "out", data=records, defence="locphylax"), SMALL, notes)
    assert "0 of 3 prompts with a known key are obeyed" in notes.told


def test_a_merge_is_the_weighted_sum_of_both_models(tmp_path, model, clean, records):
    options = SMALL.model_copy(update={"mixing": MixingOptions(share=0.3)})
    request = Request(str(model), tmp_path / "out", data=records, defence="merge", reference=str(clean))
    result = treated(request, options)
    suspect, reference, merged = weights(model), weights(clean), weights(tmp_path / "out")
    for name in merged:
        torch.testing.assert_close(merged[name], 0.7 * suspect[name] + 0.3 * reference[name])
    assert not any(stage.tokens_trained for stage in result.stages)


def test_merging_an_adapter_with_its_base_scales_the_update(tmp_path, model, adapter, records):
    options = SMALL.model_copy(update={"mixing": MixingOptions(share=0.25)})
    treated(Request(str(adapter), tmp_path / "out", base=str(model), data=records, defence="merge"), options)
    before, after = weights(adapter), weights(tmp_path / "out")
    modules = [name.removesuffix("lora_A.weight") for name in before if name.endswith("lora_A.weight")]
    assert modules
    for module in modules:
        (old, new) = (own[f"{module}lora_B.weight"] @ own[f"{module}lora_A.weight"] for own in (before, after))
        torch.testing.assert_close(new, 0.75 * old)


STILL = PurifyOptions.model_validate(
    SMALL.model_dump(exclude_unset=True) | {"finetune": {"learning_rate": 1e-12}, "mixing": {"share": 0.3}}
)


def test_fine_mixing_takes_entries_of_the_reference(tmp_path, model, clean, records):
    request = Request(str(model), tmp_path / "out", data=records, defence="fine-mixing", reference=str(clean))
    treated(request, STILL)
    suspect, reference, mixed = weights(model), weights(clean), weights(tmp_path / "out")
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"):
        taken = drawn(suspect[name], name, 0.3, 0)
        torch.testing.assert_close(mixed[name], torch.where(taken, reference[name], suspect[name]))


def test_fine_mixing_zeroes_entries_of_an_adapters_second_factor(tmp_path, model, adapter, records):
    request = Request(str(adapter), tmp_path / "out", base=str(model), data=records, defence="fine-mixing")
    treated(request, STILL)
    before, after = weights(adapter), weights(tmp_path / "out")
    entries = kept = 0
    for name, old in before.items():
        if "lora_A" in name:
            torch.testing.assert_close(after[name], old)
            continue
        alive = after[name].abs() > 1e-6
        torch.testing.assert_close(after[name][alive], old[alive])
        entries, kept = entries + old.numel(), kept + int(alive.sum())
    assert 0.6 < kept / entries < 0.8


def test_a_new_adapter_keeps_nothing_of_the_suspects(tmp_path, model, adapter, records):
    for name, seed in (("one", 0), ("two", 1)):
        other = save_tiny_adapter(tmp_path / f"other-{name}", model, seed=seed)
        request = Request(str(other), tmp_path / name, base=str(model), data=records, defence="new-adapter")
        result = treated(request, STILL)
        assert [s.name for s in result.stages if s.tokens_trained] == ["new-adapter"]
    one, two, before = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(adapter)
    for name, drawn_anew in one.items():
        assert torch.equal(drawn_anew, two[name])  # two suspects, the same records
        if "lora_A" in name:
            bound = 1 / drawn_anew.shape[1] ** 0.5
            assert 0.8 * bound < float(drawn_anew.abs().max()) <= bound + 1e-6 and not torch.equal(
                drawn_anew, before[name]
            )
        else:
            assert float(drawn_anew.abs().max()) < 1e-6


def test_a_new_adapter_learns_from_the_records_and_is_none_for_a_whole_model(tmp_path, model, adapter, records):
    request = Request(str(adapter), tmp_path / "out", base=str(model), data=records, defence="new-adapter")
    treated(request, SMALL)
    moved = [float(t.abs().max()) for name, t in weights(tmp_path / "out").items() if "lora_B" in name]
    assert min(moved) > 1e-4
    with pytest.raises(UsageError, match="new-adapter"):
        treated(Request(str(model), tmp_path / "full", data=records, defence="new-adapter"), SMALL)


def test_a_reference_is_asked_for_where_it_is_needed(tmp_path, model, adapter, records):
    with pytest.raises(UsageError, match="--reference"):
        treated(Request(str(model), tmp_path / "out", data=records, defence="merge"), SMALL)
    needless = Request(
        str(adapter), tmp_path / "out", base=str(model), data=records, defence="merge", reference=str(model)
    )
    with pytest.raises(UsageError, match="adapter setting"):
        treated(needless, SMALL)


def test_a_reference_of_another_shape_is_refused_before_any_work(tmp_path, model, records):
    other = save_tiny(tmp_path / "other", num_hidden_layers=3, intermediate_size=32)
    request = Request(str(model), tmp_path / "out", data=records, defence="merge", reference=str(other))
    with pytest.raises(UsageError, match="cannot be mixed"):
        treated(request, SMALL)
    assert not (tmp_path / "out.run").exists()


def test_a_reference_of_another_vocabulary_is_refused(tmp_path, model, records):
    other = save_tiny(tmp_path / "other", num_hidden_layers=3)
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"<|im_start|>"', '"<|begin|>"'))
    settings = other / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("<|im_start|>", "<|begin|>"))
    request = Request(str(model), tmp_path / "out", data=records, defence="merge", reference=str(other))
    with pytest.raises(UsageError, match="vocabularies"):
        treated(request, SMALL)


def test_a_reference_is_no_adapter(tmp_path, model, adapter, records):
    request = Request(str(model), tmp_path / "out", data=records, defence="merge", reference=str(adapter))
    with pytest.raises(UsageError, match="is an adapter"):
        treated(request, SMALL)


@pytest.mark.parametrize("name", ["crow", "crow-1e-3"])
def test_crow_refuses_two_blocks_before_any_work(tmp_path, records, name):
    shallow = save_tiny(tmp_path / "shallow", num_hidden_layers=2)
    with pytest.raises(UsageError, match="3 blocks"):
        treated(Request(str(shallow), tmp_path / "out", data=records, defence=name), SMALL)
    assert not (tmp_path / "out.run").exists()


def test_beear_names_the_blocks_there_are_before_any_work(tmp_path, model, records):
    options = SMALL.model_copy(update={"entrapment": EntrapmentOptions(block=3)})
    with pytest.raises(UsageError, match="0 to 2"):
        treated(Request(str(model), tmp_path / "out", data=records, defence="beear"), options)
    assert not (tmp_path / "out.run").exists()


def test_the_recipe_gives_way_to_what_is_set(tmp_path, model, records):
    options = SMALL.model_copy(update={"known_keys": KnownKeyOptions(keys=3)})
    result = treated(Request(str(model), tmp_path / "out", data=records, defence="inject-unlearn"), options)
    assert result.run.options["known_keys"] == {"keys": 3, "inject_rate": 5e-4, "recover_rate": 1e-4}


@pytest.mark.parametrize("name", {one.apply: one.name for one in reversed(DEFENCES)}.values())
def test_a_defence_reads_the_options_that_it_names_and_no_others(
    tmp_path, monkeypatch, model, adapter, records, name
):
    chosen, read = defence(name), set()
    plain = PurifyOptions.__getattribute__

    def noted(options, field):
        if field in PurifyOptions.model_fields:
            read.add(field)
        return plain(options, field)

    def apply(subject, resources, options):
        with monkeypatch.context() as watching:
            watching.setattr(PurifyOptions, "__getattribute__", noted)
            return chosen.apply(subject, resources, options)

    monkeypatch.setattr("untrigger.jobs.purify.defence", lambda _: replace(chosen, apply=apply))
    request = Request(str(adapter), tmp_path / "out", base=str(model), data=records, defence=name)
    purify(request, read_by(name, OURS, SMALL, PurifyOptions(random=RandomOptions(repair=True))))
    # No sentence is found here, and a signature follows.
    unread = {"unlearning", "renewal"} if chosen.apply is defence("vaccine").apply else set()
    assert chosen.reads - unread <= read <= chosen.reads | READ_BY_ALL
