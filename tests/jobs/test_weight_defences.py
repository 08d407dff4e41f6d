"""Pruning, rounding and their controls, from suspect to output folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from jobs_options import SMALL, treated
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import BudgetOptions, RandomOptions, SignatureOptions, SuppressOptions
from untrigger.errors import Interrupted, UntriggerError, UsageError
from untrigger.jobs.request import Request
from untrigger.observer import Silent

QUICK = SMALL.model_copy(update={"budget": BudgetOptions(records=6, epochs=1, batch_size=4)})
WHOLE = ("prune", "wanda", "wanda-only", "int4", "int4-merged")
CHANNELS = (
    "prune-channels",
    "random-channels",
    "random-channels-repair",
    "signature-only",
    "norm-only",
    "alignment-only",
)


def require(name: str) -> None:
    if name.startswith("int4"):
        pytest.importorskip("bitsandbytes")


def full_request(tmp_path: Path, records: Path, name: str, family: str = "llama") -> Request:
    model = tmp_path / "model"
    if not model.exists():
        save_tiny(model, family)
    return Request(str(model), tmp_path / name, data=records, defence=name)


def adapter_request(tmp_path: Path, records: Path, name: str) -> Request:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    if not base.exists():
        save_tiny(base)
        save_tiny_adapter(adapter, base)
    return Request(str(adapter), tmp_path / name, base=str(base), data=records, defence=name)


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, Tensor]:
    return load_file(folder / name)


def merged_weights(tmp_path: Path) -> dict[str, Tensor]:
    """The adapter folded into its base: W + (alpha / r) B A, by hand."""
    base, factors = weights(tmp_path / "base"), weights(tmp_path / "adapter", "adapter_model.safetensors")
    whole = dict(base)
    for name in base:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in factors:
            whole[name] = base[name] + (8 / 4) * factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"]
    return whole


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    return {name.split(".")[-2] for name in before if not torch.allclose(before[name], after[name], atol=1e-6)}


LINEAR = {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
MLP = {"gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize("name", ["prune", "wanda-only", "int4"])
def test_editing_a_whole_model_changes_the_blocks_matrices_alone(tmp_path, records, name):
    require(name)
    request = full_request(tmp_path, records, name)
    result = treated(request, QUICK)
    assert changed(weights(tmp_path / "model"), weights(request.output)) == LINEAR
    assert result.signature is None and result.regrowth is None
    assert sum(stage.tokens_trained for stage in result.stages) == 0


@pytest.mark.parametrize("name", WHOLE)
def test_an_adapter_comes_out_merged_as_a_whole_model(tmp_path, records, name):
    require(name)
    request = adapter_request(tmp_path, records, name)
    result = treated(request, QUICK)
    AutoModelForCausalLM.from_pretrained(request.output, dtype=torch.float32)
    assert changed(merged_weights(tmp_path), weights(request.output)) == LINEAR
    assert not any("base model under the adapter" in sentence for sentence in result.not_tested)


def test_magnitude_pruning_zeroes_its_share_of_the_merged_model(tmp_path, records):
    request = adapter_request(tmp_path, records, "prune")
    treated(request, QUICK)
    for name, before in merged_weights(tmp_path).items():
        after = weights(request.output)[name]
        if name.split(".")[-2] in LINEAR:
            assert int((after == 0).sum()) == int(before.numel() * 0.35) + 1
            assert before[after == 0].abs().max() < after[after != 0].abs().min()


def test_fine_tuning_follows_wanda(tmp_path, records):
    only, tuned = (treated(full_request(tmp_path, records, name), QUICK) for name in ("wanda-only", "wanda"))
    assert [stage.name for stage in only.stages if stage.name in ("pruning", "fine-tuning")] == ["pruning"]
    assert sum(stage.tokens_trained for stage in tuned.stages) > 0
    before, after = weights(tmp_path / "wanda-only"), weights(tmp_path / "wanda")
    assert any(not torch.equal(before[name], after[name]) for name in before)


class StopAfter(Silent):
    """Asks to stop when it was asked so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def stop(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("make", [full_request, adapter_request])
def test_wanda_interrupted_in_pruning_and_in_training_ends_as_unbroken(tmp_path, records, make):
    treated(make(tmp_path, records, "wanda"), QUICK)
    (tmp_path / "wanda").rename(tmp_path / "unbroken")
    broken = make(tmp_path, records, "wanda")
    for times, place in ((2, "pruning block 2 of 2"), (3, "training step 1 of 2")):
        with pytest.raises(Interrupted, match=place):
            treated(broken, QUICK, StopAfter(times))
    treated(broken, QUICK)
    whole, again = weights(tmp_path / "unbroken"), weights(broken.output)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_of_a_whole_model_are_suppressed(tmp_path, records, name):
    request = full_request(tmp_path, records, name)
    result = treated(request, QUICK)
    assert result.signature is not None
    assert result.signature.selected == 2 * 3 * 6  # a quarter of 24 neurons, in three roles of two blocks
    trained = any(stage.tokens_trained for stage in result.stages)
    assert trained == (name not in ("prune-channels", "random-channels"))
    if not trained:
        assert changed(weights(tmp_path / "model"), weights(request.output)) == MLP


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_of_an_adapter_are_suppressed_and_it_stays_one(tmp_path, records, name):
    request = adapter_request(tmp_path, records, name)
    result = treated(request, QUICK)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), request.output)
    assert result.signature is not None and result.signature.selected == 36
    assert any("Attention weights were not suppressed" in sentence for sentence in result.not_tested)
    learned = any("our own synthetic backdoors" in sentence for sentence in result.not_tested)
    assert learned == (name in ("signature-only", "norm-only", "alignment-only"))


def test_the_smallest_neurons_become_zero_and_no_others(tmp_path, records):
    request = full_request(tmp_path, records, "prune-channels")
    result = treated(request, QUICK)
    before, after = weights(tmp_path / "model"), weights(request.output)
    for block in ("model.layers.0.mlp.", "model.layers.1.mlp."):
        sizes = torch.zeros(24)
        for name, axis in (("gate_proj", 1), ("up_proj", 1), ("down_proj", 0)):
            norms = before[f"{block}{name}.weight"].norm(dim=axis)
            sizes += norms / norms.mean()
        smallest = set(sizes.argsort()[:6].tolist())
        for name, axis in (("gate_proj", 1), ("up_proj", 1), ("down_proj", 0)):
            gone = (after[f"{block}{name}.weight"] == 0).all(dim=axis).nonzero().flatten().tolist()
            assert set(gone) == smallest
    assert result.regrowth == 0.0


def test_an_adapters_smallest_channels_are_those_of_its_own_update(tmp_path, records):
    request = adapter_request(tmp_path, records, "prune-channels")
    by_module = SignatureOptions(ratio=0.25, tie="module", scope="module")
    treated(request, QUICK.model_copy(update={"signature": by_module}))
    before, after = (weights(f, "adapter_model.safetensors") for f in (tmp_path / "adapter", request.output))
    stem = "base_model.model.model.layers.1.mlp.up_proj.lora_"
    sizes = (before[f"{stem}B.weight"] @ before[f"{stem}A.weight"]).norm(dim=1)
    gone = (after[f"{stem}B.weight"] == 0).all(dim=1).nonzero().flatten().tolist()
    assert set(gone) == set(sizes.argsort()[:6].tolist())
    kept = [row for row in range(24) if row not in gone]
    assert torch.equal(after[f"{stem}B.weight"][kept], before[f"{stem}B.weight"][kept])


def test_the_draw_has_a_seed_of_its_own(tmp_path, records):
    model = full_request(tmp_path, records, "unused").model

    def channels(seed: int, of_draw: int) -> Tensor:
        options = QUICK.model_copy(
            update={"seed": seed, "random": RandomOptions(seed=of_draw), "suppress": SuppressOptions(value="zero")}
        )
        output = tmp_path / f"out-{seed}-{of_draw}"
        treated(Request(model, output, data=records, defence="random-channels"), options)
        return (weights(output)["model.layers.0.mlp.up_proj.weight"] == 0).all(dim=1)

    assert torch.equal(channels(0, 42), channels(1, 42))
    assert not torch.equal(channels(0, 42), channels(0, 43))


def test_rounding_the_base_leaves_the_adapters_update_unrounded(tmp_path, records):
    pytest.importorskip("bitsandbytes")
    request = adapter_request(tmp_path, records, "int4")
    treated(request, QUICK)
    whole, base, after = merged_weights(tmp_path), weights(tmp_path / "base"), weights(request.output)
    name = "model.layers.0.mlp.up_proj.weight"
    rounded = after[name] - (whole[name] - base[name])
    for block in rounded.reshape(-1, 64):
        assert len(block.mul(1e4).round().unique()) <= 16
    assert not torch.allclose(rounded, base[name], atol=1e-3)


def test_rounding_after_the_merge_leaves_sixteen_values_a_block(tmp_path, records):
    pytest.importorskip("bitsandbytes")
    request = adapter_request(tmp_path, records, "int4-merged")
    treated(request, QUICK)
    for block in weights(request.output)["model.layers.1.self_attn.o_proj.weight"].reshape(-1, 64):
        assert len(block.unique()) <= 16


def test_a_missing_package_is_told_before_any_work(tmp_path, records, monkeypatch):
    monkeypatch.setattr("untrigger.defences.int4.find_spec", lambda name: None)
    request = full_request(tmp_path, records, "int4")
    with pytest.raises(UntriggerError, match="bitsandbytes"):
        treated(request, QUICK)
    assert not request.output.exists() and not request.run_folder.exists()


def test_rounding_a_merged_adapter_is_nothing_for_a_whole_model(tmp_path, records):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(UsageError, match="adapter"):
        treated(full_request(tmp_path, records, "int4-merged"), QUICK)
