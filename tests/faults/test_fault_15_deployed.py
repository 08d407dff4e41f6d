"""Fault 15: what is deployed is not what was measured: merged, in another precision, or rounded to four bits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs_options import FEW_PROMPTS, SMALL
from tiny import save_tiny_adapter, tiny_tokenizer
from untrigger.config import EvaluateOptions
from untrigger.jobs.evaluate import EvaluateRequest, evaluate
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request

FEW = EvaluateOptions(**FEW_PROMPTS.model_dump())
KNOWN = {"attack": "badnet", "behaviour": "sentiment"}


@pytest.fixture
def purified(tmp_path, suspect, records) -> Path:
    adapter = save_tiny_adapter(tmp_path / "adapter", suspect)
    result = purify(Request(str(adapter), tmp_path / "out", base=str(suspect), data=records, **KNOWN), SMALL)
    assert "Quantised or merged forms of the output were not tested." in result.not_tested
    return tmp_path / "out"


def test_fault_15_deployed_merged_and_in_half_precision(tmp_path, suspect, records, purified):
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(suspect), purified).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tiny_tokenizer().save_pretrained(tmp_path / "merged")
    request = EvaluateRequest(str(tmp_path / "merged"), prompts=records, dtype="bfloat16", **KNOWN)
    found = evaluate(request, FEW)
    assert found.measurement.attack_success is not None and found.measurement.attack_success.n == 3
    assert found.environment.dtype == "torch.bfloat16"


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra quant")
def test_fault_15_deployed_in_four_bits(tmp_path, suspect, records, purified):
    rounded = Request(
        str(purified), tmp_path / "int4", base=str(suspect), data=records, defence="int4-merged", **KNOWN
    )
    result = purify(rounded, SMALL)
    assert result.after.attack_success is not None and result.after.attack_success.n == 3
    assert result.after.divergence is not None and result.after.divergence.value > 0
    found = evaluate(EvaluateRequest(str(tmp_path / "int4"), prompts=records, **KNOWN), FEW)
    assert found.measurement.attack_success == result.after.attack_success
