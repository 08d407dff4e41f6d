from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from tiny import save_tiny, save_tiny_adapter
from untrigger.models.load import load, scaling

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
TOKENS = torch.arange(1, 9).unsqueeze(0)


def plain_logits(folder: Path, base: Path) -> Tensor:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder).eval()
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {r"^model.layers.\d+.mlp.down_proj": 3.5}},
        {"target_modules": r".*layers\.1\..*o_proj"},
        {"layers_to_transform": [1]},
    ],
    ids=["plain", "rslora", "patterns", "expression", "one layer"],
)
def test_adapters_load_like_plain_peft(tmp_path: Path, family: str, lora: dict[str, object]) -> None:
    base = save_tiny(tmp_path / "base", family)
    folder = save_tiny_adapter(tmp_path / "adapter", base, **lora)
    subject = load(str(folder), base=str(base))
    with torch.no_grad():
        torch.testing.assert_close(subject.model(TOKENS).logits, plain_logits(folder, base))
        assert not torch.allclose(subject.model(TOKENS).logits, load(str(base)).model(TOKENS).logits, atol=1e-3)
    assert subject.access == "adapter"


def test_an_adapter_of_gpt_neox_may_hold_its_fused_attention(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "gpt_neox")
    folder = save_tiny_adapter(tmp_path / "adapter", base, target_modules=["query_key_value", "dense_h_to_4h"])
    with torch.no_grad():
        found = load(str(folder), base=str(base)).model(TOKENS).logits
    torch.testing.assert_close(found, plain_logits(folder, base))


def test_the_adapter_alone_is_trainable_and_named_default(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    model = load(str(save_tiny_adapter(tmp_path / "adapter", base)), base=str(base)).model
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable and all(".lora_" in name and ".default." in name for name in trainable)
    assert list(model.peft_config) == ["default"]


def test_scaling_honours_patterns_and_rank_stabilisation(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    patterns = {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {r"layers.1.mlp.up_proj": 6}}
    plain = load(str(save_tiny_adapter(tmp_path / "plain", base, **patterns)), base=str(base))
    scales = scaling(plain)
    assert len(scales) == 14
    assert scales["model.layers.0.self_attn.q_proj"] == 8 / 4
    assert scales["model.layers.0.mlp.down_proj"] == 8 / 2
    assert scales["model.layers.1.mlp.up_proj"] == 6 / 4
    assert {projection.module for projection in plain.architecture.projections()} == set(scales)
    stable = load(str(save_tiny_adapter(tmp_path / "stable", base, use_rslora=True, **patterns)), base=str(base))
    assert scaling(stable)["model.layers.0.mlp.down_proj"] == pytest.approx(8 / 2**0.5)
    assert scaling(load(str(base))) == {}
