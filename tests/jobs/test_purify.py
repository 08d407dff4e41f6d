from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from jobs_options import FEW_PROMPTS, SMALL
from tiny import FAMILY_NAMES, save_tiny, save_tiny_adapter
from untrigger.cli.options import DEFENCE_NAMES
from untrigger.config import (
    BudgetOptions,
    KnownKeyOptions,
    PurifyOptions,
    RepairOptions,
    SignatureOptions,
    UnlearningOptions,
    VariantOptions,
)
from untrigger.defences.registry import DEFENCES
from untrigger.errors import Interrupted, UsageError
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.presets import merged


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_full_model_of_each_family_is_purified_in_its_own_format(tmp_path, records, family):
    suspect = save_tiny(tmp_path / "suspect", family)
    result = purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    before, after = load_file(suspect / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    assert model.config.model_type == family
    assert result.signature is not None and result.signature.selected > 0
    assert not (tmp_path / "out.run").exists()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_adapter_of_each_family_is_purified_in_its_own_format(tmp_path, records, family):
    base = save_tiny(tmp_path / "base", family)
    suspect = save_tiny_adapter(tmp_path / "suspect", base)
    purify(Request(str(suspect), tmp_path / "out", base=str(base), data=records), SMALL)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out")
    assert model.peft_config["default"].r == 4
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (suspect, tmp_path / "out"))
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}


THROUGH_ADAPTER = merged(
    SMALL,
    PurifyOptions(
        variants=VariantOptions(through="adapter"), repair=RepairOptions(through="adapter", freeze_suppressed=True)
    ),
)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_full_model_is_purified_through_an_adapter_in_its_own_format(tmp_path, records, family):
    suspect = save_tiny(tmp_path / "suspect", family)
    result = purify(Request(str(suspect), tmp_path / "out", data=records), THROUGH_ADAPTER)
    before, after = load_file(suspect / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved and not any("embed" in name or "norm" in name or "lm_head" in name for name in moved)
    assert result.signature is not None and result.signature.selected > 0


@pytest.fixture
def suspect(tmp_path: Path) -> Path:
    """A tiny random llama."""
    return save_tiny(tmp_path / "suspect")


def weights_hash(folder: Path) -> str:
    return sha256(folder / "model.safetensors")


class StopAfter(Silent):
    """Asks to stop at the given training step of the whole run."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def training(self, label, progress):
        self.left -= 1

    def stop(self):
        return self.left <= 0


@pytest.mark.parametrize("options", [SMALL, THROUGH_ADAPTER], ids=["weights", "adapter"])
def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path, suspect, records, options):
    purify(Request(str(suspect), tmp_path / "whole", data=records), options)
    broken = Request(str(suspect), tmp_path / "broken", data=records)
    interruptions = 0
    for _ in range(40):
        try:
            purify(broken, options, StopAfter(2))
            break
        except Interrupted:
            interruptions += 1
    assert interruptions >= 3
    assert weights_hash(tmp_path / "whole") == weights_hash(tmp_path / "broken")


def test_the_same_call_again_gives_the_stored_result(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records)
    first = purify(request, SMALL)
    assert purify(request, SMALL) == first


def test_another_configuration_is_not_written_over_a_finished_output(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records)
    purify(request, SMALL)
    other = merged(SMALL, PurifyOptions(seed=1))
    with pytest.raises(UsageError, match="another run"):
        purify(request, other)


def test_an_unfinished_run_of_another_configuration_is_not_mixed_in(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records)
    with pytest.raises(Interrupted):
        purify(request, SMALL, StopAfter(1))
    with pytest.raises(UsageError, match="another configuration"):
        purify(request, merged(SMALL, PurifyOptions(signature=SignatureOptions(ratio=0.5))))


def test_an_existing_output_folder_is_refused_before_any_work(tmp_path, suspect, records):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)


def test_attack_and_behaviour_belong_together(tmp_path, suspect):
    with pytest.raises(UsageError, match="belong together"):
        purify(Request(str(suspect), tmp_path / "out", attack="badnet"), SMALL)


def test_a_known_backdoor_is_measured_with_its_interval(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records, attack="badnet", behaviour="sentiment")
    result = purify(request, SMALL)
    assert result.after.attack_success is not None
    assert result.after.attack_success.n == 3
    rows = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 12  # before and after, with and without the key
    assert "BadMagic" in json.loads(rows[3])["prompt"]


@pytest.mark.parametrize("options", [SMALL, THROUGH_ADAPTER], ids=["weights", "adapter"])
def test_frozen_channels_do_not_regrow(tmp_path, suspect, records, options):
    frozen = merged(options, PurifyOptions(repair=RepairOptions(freeze_suppressed=True)))
    zeroed = frozen.model_copy(update={"suppress": frozen.suppress.model_copy(update={"value": "zero"})})
    result = purify(Request(str(suspect), tmp_path / "out", data=records), zeroed)
    assert result.regrowth == 0.0


def test_an_adapter_is_not_treated_through_another(tmp_path, records):
    base = save_tiny(tmp_path / "base")
    suspect = save_tiny_adapter(tmp_path / "suspect", base)
    with pytest.raises(UsageError, match="are for whole models"):
        purify(Request(str(suspect), tmp_path / "out", base=str(base), data=records), THROUGH_ADAPTER)


def test_paper_preset_leaves_out_injection(tmp_path, suspect, records):
    small = PurifyOptions.model_validate(
        {
            "variants": {"pairs": 2, "records": 4, "train": {"epochs": 1}},
            "repair": {"records": 6, "train": {"epochs": 1}},
            "measure": {"max_prompts": 3, "max_new_tokens": 4},
        }
    )
    result = purify(Request(str(suspect), tmp_path / "out", data=records, preset="paper"), small)
    names = [stage.name for stage in result.stages]
    assert "injection" not in names
    assert result.signature is not None and result.signature.ratio == 0.03


def test_time_is_told(tmp_path, suspect, records):
    began = time.monotonic()
    result = purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)
    assert 0 < sum(stage.seconds for stage in result.stages) <= time.monotonic() - began
    assert sum(stage.tokens_trained for stage in result.stages) > 0


def test_another_defence_is_run_by_its_name(tmp_path, suspect, records):
    small = PurifyOptions(measure=FEW_PROMPTS, budget=BudgetOptions(records=4, epochs=2, batch_size=2))
    result = purify(Request(str(suspect), tmp_path / "out", data=records, defence="finetune"), small)
    assert result.signature is None and result.regrowth is None
    assert {stage.name for stage in result.stages} == {"suspect", "records", "before", "fine-tuning", "after"}
    before, after = load_file(suspect / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_options_that_a_defence_does_not_read_are_refused_before_any_work(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records, defence="finetune")
    with pytest.raises(UsageError, match=r"--known-keys\.\*, --repair\.\* would do nothing .finetune does not read"):
        purify(request, PurifyOptions(repair=RepairOptions(keys=3), known_keys=KnownKeyOptions(keys=7)))
    assert not request.run_folder.exists()


def test_the_preset_is_the_defence_of_the_paper(tmp_path):
    assert Request("m", tmp_path, preset="paper").defence_name == "paper"
    assert Request("m", tmp_path, preset="paper", defence="paper").defence_name == "paper"
    with pytest.raises(UsageError, match="no recipe for finetune"):
        _ = Request("m", tmp_path, preset="paper", defence="finetune").defence_name


def test_an_effort_is_refused_by_other_defences_before_any_work(tmp_path):
    for asked in ({"preset": "paper"}, {"defence": "finetune"}):
        with pytest.raises(UsageError, match=r"--effort quick is no recipe for (paper|finetune)"):
            purify(Request("no-such-model", tmp_path / "out", effort="quick", **asked), SMALL)
    assert Request("m", tmp_path, effort="thorough").defence_name == "vaccine"


def test_an_effort_sets_what_is_not_set_explicitly(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records, effort="quick")
    purify(request, merged(SMALL, PurifyOptions(unlearning=UnlearningOptions(search_steps=3))))
    told = json.loads((tmp_path / "out" / "reproduce.json").read_text())["options"]["unlearning"]
    assert (told["words"]["beam"], told["search_steps"]) == (0, 3)


def test_a_reference_that_the_defence_does_not_use_is_refused(tmp_path, suspect):
    with pytest.raises(UsageError, match="no use of a reference"):
        purify(Request(str(suspect), tmp_path / "out", reference=str(suspect)), SMALL)


def test_the_command_line_names_every_defence():
    assert tuple(DEFENCE_NAMES.split(", ")) == tuple(one.name for one in DEFENCES)
