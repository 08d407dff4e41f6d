from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tiny import save_tiny, save_tiny_adapter
from untrigger.errors import InputRefused
from untrigger.models.load import load, scaling

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
TOKENS = torch.arange(1, 9).unsqueeze(0)
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


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


class Adapter:
    """A valid adapter on disk, to be spoilt."""

    def __init__(self, root: Path) -> None:
        self.base = save_tiny(root / "base")
        self.folder = save_tiny_adapter(root / "adapter", self.base)

    def set(self, **changes: object) -> None:
        path = self.folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def change(self, add: dict[str, Tensor], remove: str = "nothing") -> None:
        path = self.folder / "adapter_model.safetensors"
        held = {name: tensor for name, tensor in load_file(path).items() if name != remove}
        save_file(held | add, path)

    def load(self) -> object:
        return load(str(self.folder), base=str(self.base))


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return Adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING"),
        ({"peft_type": None}, "peft_type"),
        ({"r": 10**6}, "1000000"),
        ({"r": 0}, "rank r is 0"),
        ({"r": -1}, "rank r is -1"),
        ({"r": True}, "rank r is True"),
        ({"r": 4.0}, "rank r is 4.0"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"lora_alpha": -8}, "lora_alpha is -8"),
        ({"lora_alpha": 1e30}, "lora_alpha is 1e"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"use_rslora": "yes"}, "use_rslora"),
        ({"rank_pattern": {"down_proj": 10**6}}, "1000000"),
        ({"rank_pattern": []}, None),
        ({"rank_pattern": [1]}, "rank_pattern"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {"(.*.*)*x": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {"down_proj": 2e6}}, "2000000"),
    ],
)
def test_bad_input_27_and_32_settings_outside_sane_bounds(
    adapter: Adapter, changes: dict[str, object], named: str | None
) -> None:
    adapter.set(**changes)
    if named is None:
        adapter.load()
        return
    with pytest.raises(InputRefused, match=named):
        adapter.load()


def test_bad_input_27_an_alpha_of_nan_is_refused(adapter: Adapter) -> None:
    adapter.set(lora_alpha=float("nan"))
    with pytest.raises(InputRefused, match="NaN"):
        adapter.load()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("trainable_token_indices", [3]),
        ("use_dora", True),
        ("lora_bias", True),
        ("bias", "all"),
        ("layer_replication", [[0, 2], [0, 2]]),
        ("corda_config", {"cache_file": "/tmp/x.pt"}),
        ("lora_ga_config", {"cache_file": "/tmp/x.pt"}),
        ("loftq_config", {"loftq_bits": 4}),
        ("target_parameters", ["mlp.experts"]),
        ("fan_in_fan_out", True),
        ("init_lora_weights", "pissa"),
        ("something_new", "x"),
        ("auto_map", {"AutoModel": "evil"}),
    ],
)
def test_bad_input_30_and_32_parts_that_are_not_purified_are_named(adapter: Adapter, key: str, value: object) -> None:
    adapter.set(**{key: value})
    with pytest.raises(InputRefused, match=key):
        adapter.load()


def test_bad_input_28_a_catastrophic_expression_is_never_matched(adapter: Adapter) -> None:
    adapter.set(target_modules="(a|aa|[a-z._0-9]+)+!", layers_pattern="(a+)+!")
    adapter.load()


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.lm_head.weight",
        f"{Q0}.lora_magnitude_vector",
        f"{Q0}.lora_B.bias",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
    ],
)
def test_bad_input_31_factors_of_nothing_in_the_base_are_named(adapter: Adapter, name: str) -> None:
    adapter.change({name: torch.ones(4, 16)})
    with pytest.raises(InputRefused, match=name):
        adapter.load()


@pytest.mark.parametrize("factor", ["A", "B"])
def test_bad_input_31_a_factor_without_its_other_is_named(adapter: Adapter, factor: str) -> None:
    adapter.change({}, remove=f"{Q0}.lora_{factor}.weight")
    with pytest.raises(InputRefused, match=f"q_proj.lora_{factor}.weight is missing"):
        adapter.load()


@pytest.mark.parametrize(
    ("factor", "shape", "expected"),
    [("A", (5, 16), (4, 16)), ("A", (4, 17), (4, 16)), ("B", (16, 5), (16, 4)), ("B", (17, 4), (16, 4))],
)
def test_bad_input_31_wrong_shapes_are_told_both(
    adapter: Adapter, factor: str, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    adapter.change({f"{Q0}.lora_{factor}.weight": torch.ones(shape)})
    with pytest.raises(InputRefused) as caught:
        adapter.load()
    assert str(shape) in str(caught.value) and str(expected) in str(caught.value)


def test_bad_input_31_a_stated_rank_that_the_factors_do_not_have_is_refused(adapter: Adapter) -> None:
    adapter.set(rank_pattern={"down_proj": 3})
    with pytest.raises(InputRefused, match=r"down_proj.*\(4, 24\).*\(3, 24\)"):
        adapter.load()


def test_bad_input_31_the_wrong_base_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", intermediate_size=32)
    with pytest.raises(InputRefused, match="ask for"):
        load(str(adapter.folder), base=str(other))


def test_bad_input_12_an_adapter_with_infinity_is_refused(adapter: Adapter) -> None:
    adapter.change({f"{Q0}.lora_A.weight": torch.full((4, 16), float("inf"))})
    with pytest.raises(InputRefused, match="NaN or infinity"):
        adapter.load()


def test_bad_input_1_an_adapter_that_is_a_pickle_is_refused(adapter: Adapter) -> None:
    (adapter.folder / "adapter_model.safetensors").unlink()
    os.mkfifo(adapter.folder / "adapter_model.bin")
    with pytest.raises(InputRefused, match=r"adapter_model\.bin.*never opened"):
        adapter.load()
