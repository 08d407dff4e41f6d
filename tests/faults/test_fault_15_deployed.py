"""Fault 15: what is deployed is not what was measured: merged, in another precision, or rounded to four bits."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs_options import FEW_PROMPTS, SMALL
from tiny import save_tiny, save_tiny_adapter, tiny_tokenizer
from untrigger.config import EvaluateOptions, Int4Options, PurifyOptions
from untrigger.defences import int4
from untrigger.errors import UntriggerError, UsageError
from untrigger.jobs.evaluate import EvaluateRequest, evaluate
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.models.load import load
from untrigger.report.evaluation import EvaluationResult

FEW = EvaluateOptions(**FEW_PROMPTS.model_dump())
KNOWN = {"attack": "badnet", "behaviour": "sentiment"}
FOUR_BITS = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra quant")


@pytest.fixture
def adapter(tmp_path, suspect) -> Path:
    return save_tiny_adapter(tmp_path / "adapter", suspect)


@pytest.fixture
def purified(tmp_path, suspect, adapter, records) -> Path:
    result = purify(Request(str(adapter), tmp_path / "out", base=str(suspect), data=records, **KNOWN), SMALL)
    (said,) = (sentence for sentence in result.not_tested if "precisions" in sentence)
    assert said.startswith(
        "The weights were measured in float32, on a base in float32; the output in other precisions, quantised or"
    )
    return tmp_path / "out"


def test_fault_15_deployed_precision_that_differs_from_the_measured_one_is_told(tmp_path, records):
    suspect = save_tiny(tmp_path / "half", dtype=torch.bfloat16)
    result = purify(Request(str(suspect), tmp_path / "out", data=records, dtype="float32"), SMALL)
    (said,) = (sentence for sentence in result.not_tested if "precisions" in sentence)
    assert "measured in float32, and are stored in bfloat16" in said and "merged" not in said
    assert "stored in bfloat16" in (tmp_path / "out" / "README.md").read_text()


def test_fault_15_deployed_merged_and_in_half_precision(tmp_path, suspect, records, purified):
    asked = {"base": str(suspect), "prompts": records, "dtype": "bfloat16", "deployed": "merged"} | KNOWN
    found = evaluate(EvaluateRequest(str(purified), **asked), FEW)
    assert found.measurement.attack_success is not None and found.measurement.attack_success.n == 3
    assert found.deployed == "merged" and found.environment.dtype == "torch.bfloat16"
    assert found.source.reference == str(purified) and found.source.base is not None
    assert EvaluationResult.from_json(found.to_json()) == found
    base = AutoModelForCausalLM.from_pretrained(suspect, dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(base, purified).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tiny_tokenizer().save_pretrained(tmp_path / "merged")
    plain = evaluate(EvaluateRequest(str(tmp_path / "merged"), prompts=records, dtype="bfloat16", **KNOWN), FEW)
    assert plain.measurement == found.measurement and plain.deployed is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_fault_15_deployed_precision_stands_beside_the_figure(trials, suspect, adapter, records, dtype):
    words = ["evaluate", adapter, "--base", suspect, "--prompts", records, "--dtype", dtype, "-q"]
    words += ["--max-prompts", 1, "--max-new-tokens", 2, "--deployed", "merged"]
    done = trials.command(words)
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.splitlines() if line.split()[0] == "weights")
    assert line.split(maxsplit=1)[1] == f"{dtype}, merged into the base"
    told = json.loads(trials.command([*words, "--format", "json"]).out)
    assert told["deployed"] == "merged" and told["run"]["options"]["request"]["dtype"] == dtype


def test_fault_15_deployed_form_that_does_not_exist_is_refused(trials, suspect, records):
    with pytest.raises(UsageError, match="is no adapter"):
        evaluate(EvaluateRequest(str(suspect), prompts=records, deployed="merged"), FEW)
    assert trials.command(["evaluate", suspect, "--deployed", "int8"]).code == 4


def test_fault_15_deployed_in_four_bits_without_the_package_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(int4, "find_spec", lambda name: None)
    with pytest.raises(UntriggerError, match="needs bitsandbytes"):
        evaluate(EvaluateRequest(str(tmp_path / "none"), deployed="int4"), FEW)


@FOUR_BITS
def test_fault_15_deployed_in_four_bits_is_what_the_defence_of_that_name_makes(tmp_path, suspect, records, purified):
    rounded = Request(
        str(purified), tmp_path / "int4", base=str(suspect), data=records, defence="int4-merged", **KNOWN
    )
    result = purify(rounded, PurifyOptions(measure=FEW_PROMPTS))
    assert result.after.attack_success is not None and result.after.attack_success.n == 3
    assert result.after.divergence is not None and result.after.divergence.value > 0
    stored = evaluate(EvaluateRequest(str(tmp_path / "int4"), prompts=records, **KNOWN), FEW)
    asked = {"base": str(suspect), "prompts": records, "deployed": "int4-merged"} | KNOWN
    live = evaluate(EvaluateRequest(str(purified), **asked), FEW)
    assert stored.measurement == live.measurement
    assert stored.measurement.attack_success == result.after.attack_success


@FOUR_BITS
@pytest.mark.parametrize("form", ["int4", "int4-merged"])
def test_fault_15_deployed_in_four_bits_rounds_the_adapter_only_if_it_is_merged(suspect, adapter, form):
    from untrigger.jobs.deployment import deployed

    before = load(str(adapter), base=str(suspect))
    factors = {name: value.clone() for name, value in before.model.state_dict().items() if "lora_" in name}
    found = deployed(before, form)
    assert found.access == ("adapter" if form == "int4" else "full")
    base = {name: value for name, value in found.model.state_dict().items() if "gate_proj" in name}
    weight = next(value for name, value in base.items() if "lora_" not in name)
    assert torch.allclose(int4.nf4(weight, Int4Options()), weight, atol=1e-2)  # rounded already
    kept = {name: value for name, value in found.model.state_dict().items() if "lora_" in name}
    assert kept.keys() == (factors.keys() if form == "int4" else set())
    assert all(torch.equal(value, factors[name]) for name, value in kept.items())
