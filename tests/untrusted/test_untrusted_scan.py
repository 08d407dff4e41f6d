"""Every rule of the scan has a file that breaks it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hostile import ceiling, change_tensors, edit
from tiny import save_tiny
from untrigger.errors import InputRefused, Interrupted, UsageError
from untrigger.inspection.folders import Fate
from untrigger.inspection.rules import RULES, Severity
from untrigger.jobs import scan as scan_module
from untrigger.jobs.scan import ScanRequest, scan
from untrigger.models.load import load
from untrigger.models.subject import Source
from untrigger.observer import Silent
from untrigger.report.scan import ScanResult

WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
NORM, DOWN = "model.norm.weight", "model.layers.0.mlp.down_proj.weight"
UP_B = "base_model.model.model.layers.2.mlp.up_proj.lora_B.weight"
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def looked(model: Path, base: Path | None = None) -> ScanResult:
    return scan(ScanRequest(str(model), None if base is None else str(base)))


def rules(result: ScanResult) -> set[str]:
    return {finding.rule for finding in result.findings}


def tokenizer(model: Path, **changes: object) -> None:
    edit(model / "tokenizer.json", **changes)


def put_template(model: Path, text: str) -> None:
    (model / "chat_template.jinja").write_text(text)


def tensors(model: Path, **changed: torch.Tensor) -> None:
    change_tensors(model / WEIGHTS, {name.replace("__", "."): tensor for name, tensor in changed.items()})


def put_around(token: str) -> dict[str, object]:
    single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    known = {token: {"id": token, "ids": [5], "tokens": [token]}}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": known}


def without_row(model: Path) -> None:
    longer = AutoTokenizer.from_pretrained(model)
    longer.add_tokens([f"<filler {number}>" for number in range(10)], special_tokens=True)
    longer.save_pretrained(model)


def ordinary(model: Path) -> None:
    path = model / "tokenizer.json"
    added = json.loads(path.read_text())["added_tokens"]
    word = {"id": 263, "content": "tropical teapot", "special": False, "single_word": False, "lstrip": False}
    tokenizer(model, added_tokens=[*added, word | {"rstrip": False, "normalized": False}])


def half_denormal(model: Path) -> None:
    norm = load_file(model / WEIGHTS)[NORM].clone()
    norm[:2] = 1e-41
    change_tensors(model / WEIGHTS, {NORM: norm})


MODELS: dict[str, Callable[[Path], object]] = {
    "unsafe-file": lambda model: (model / "notes\n.md").write_text("x"),
    "weights-refused": lambda model: os.truncate(model / WEIGHTS, (model / WEIGHTS).stat().st_size - 4),
    "nonfinite-weights": lambda model: tensors(model, model__norm__weight=torch.full((16,), torch.inf)),
    "configuration-refused": lambda model: edit(model / "config.json", auto_map={"AutoModel": "evil--x"}),
    "tokenizer-refused": lambda model: (model / "tokenizer.json").write_text("{"),
    "template-refused": lambda model: put_template(model, "{{ ''.__class__ }}" + PLAIN),
    "template-branches": lambda model: put_template(model, "{{ 'x' if messages[0].content == 'cf' }}" + PLAIN),
    "pickle": lambda model: (model / "training_args.bin").write_bytes(b"\x80\x04."),
    "code": lambda model: (model / "modeling_x.py").write_text("import os"),
    "zero-weights": lambda model: change_tensors(model / WEIGHTS, {DOWN: torch.zeros(16, 24)}),
    "denormal-weights": lambda model: tensors(model, model__norm__weight=torch.full((16,), 1e-41)),
    "steered-generation": lambda model: edit(model / "generation_config.json", suppress_tokens=[5]),
    "rewritten-text": lambda model: tokenizer(
        model, normalizer={"type": "Replace", "pattern": {"String": "safe"}, "content": "cf"}
    ),
    "added-text": lambda model: tokenizer(model, post_processor=put_around("cf")),
    "unknown-template": lambda model: put_template(model, PLAIN),
    "copied-unchanged": lambda model: (model / "merges.txt").write_text("#version: 0.2\n"),
    "zero-vector": lambda model: tensors(model, model__norm__weight=torch.zeros(16)),
    "few-denormals": half_denormal,
    "dropped-settings": lambda model: edit(model / "config.json", torchscript_x=True),
    "token-without-row": without_row,
    "ordinary-added-tokens": ordinary,
    "no-template": lambda model: (model / "chat_template.jinja").unlink(),
}
ADAPTERS: dict[str, Callable[[Path], object]] = {
    "adapter-refused": lambda adapter: edit(adapter / "adapter_config.json", r=3),
    "adapter-part": lambda adapter: edit(adapter / "adapter_config.json", modules_to_save=["lm_head"]),
    "base-address": lambda adapter: edit(
        adapter / "adapter_config.json", base_model_name_or_path="https://example.invalid/x"
    ),
    "named-base": lambda adapter: edit(adapter / "adapter_config.json", base_model_name_or_path="org/name"),
    "outlier-update": lambda adapter: change_tensors(
        adapter / ADAPTER, {UP_B: 100 * load_file(adapter / ADAPTER)[UP_B]}
    ),
    "zero-update": lambda adapter: change_tensors(adapter / ADAPTER, {UP_B: torch.zeros(24, 4)}),
    "attention-update": lambda adapter: None,
    "base-not-given": lambda adapter: None,
}
ELSEWHERE = {"converted", "conversion-refused", "planted-sentence", "answers-not-asked"}


@pytest.fixture
def deep_adapter(deep: Path, tmp_path: Path) -> Path:
    target = tmp_path / "deep-adapter"
    target.mkdir()
    for path in (deep / "adapter").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_every_rule_is_planted() -> None:
    assert set(MODELS) | set(ADAPTERS) | ELSEWHERE == set(RULES)


@pytest.mark.parametrize("rule", MODELS)
def test_scan_tells_of_what_was_planted_in_a_model(model: Path, rule: str) -> None:
    assert rule not in rules(looked(model))
    MODELS[rule](model)
    held = {path: path.stat().st_mtime_ns for path in model.iterdir()}
    result = looked(model)
    assert rule in rules(result)
    assert result.exit_code == {"critical": 3, "warning": 1, "info": 0}[RULES[rule].severity]
    assert {path: path.stat().st_mtime_ns for path in model.iterdir()} == held


@pytest.mark.parametrize("rule", ADAPTERS)
def test_scan_tells_of_what_was_planted_in_an_adapter(deep_adapter: Path, rule: str) -> None:
    ADAPTERS[rule](deep_adapter)
    result = looked(deep_adapter)
    assert rule in rules(result)
    assert result.exit_code == {"critical": 3, "warning": 1, "info": 0}[RULES[rule].severity]


@pytest.mark.parametrize("rule", [name for name in MODELS if RULES[name].severity is Severity.CRITICAL])
def test_what_is_critical_is_what_loading_refuses(model: Path, rule: str) -> None:
    MODELS[rule](model)
    with pytest.raises(InputRefused):
        load(str(model))


@pytest.mark.parametrize("rule", [name for name in MODELS if RULES[name].severity is not Severity.CRITICAL])
def test_what_is_not_critical_is_loaded(model: Path, rule: str) -> None:
    if rule != "added-text":  # its token exists for the file alone
        MODELS[rule](model)
    load(str(model))


def test_the_scan_goes_on_after_the_first_finding(model: Path) -> None:
    planted = ("configuration-refused", "template-branches", "pickle", "nonfinite-weights", "steered-generation")
    for rule in planted:
        MODELS[rule](model)
    edit(model / "config.json", trust_remote_code=True, _attn_implementation_internal="evil/x")
    result = looked(model)
    assert set(planted) <= rules(result) and result.exit_code == 3
    refused = {finding.field for finding in result.findings if finding.rule == "configuration-refused"}
    assert refused == {"auto_map", "trust_remote_code", "_attn_implementation_internal"}
    assert [finding.severity for finding in result.findings] == sorted(
        (finding.severity for finding in result.findings), key=list(Severity).index
    )


def test_several_broken_shards_are_each_told(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "shards", max_shard_size="20KB")
    first, second, *_ = sorted(model.glob("*.safetensors"))
    for shard in (first, second):
        os.truncate(shard, shard.stat().st_size - 4)
    told = {finding.file for finding in looked(model).findings if finding.rule == "weights-refused"}
    assert told == {first.name, second.name}


def test_a_folder_with_a_pickle_alone_is_refused_and_still_looked_through(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    result = looked(model)
    assert {"weights-refused", "pickle"} <= rules(result) and result.exit_code == 3
    assert any("never opened" in finding.message for finding in result.findings)


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.modules_to_save.weight",
        "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector.weight",
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.bias",
    ],
)
def test_parts_of_an_adapter_beyond_factors_are_named(model: Path, adapter: Path, name: str) -> None:
    change_tensors(adapter / ADAPTER, {name: torch.ones(4, 16)})
    for base in (None, model):
        found = [finding.field for finding in looked(adapter, base).findings if finding.rule == "adapter-part"]
        assert found == [name]


def test_several_parts_and_a_missing_factor_are_told_together(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", use_dora=True, lora_bias=True, trainable_token_indices=[3])
    change_tensors(adapter / ADAPTER, {}, "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight")
    result = looked(adapter)
    told = {finding.field for finding in result.findings if finding.rule == "adapter-part"}
    assert told == {"use_dora", "lora_bias", "trainable_token_indices"}
    assert any("one factor only" in finding.message for finding in result.findings)


def test_a_factor_of_a_rank_beyond_reason_costs_no_memory(adapter: Path) -> None:
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    change_tensors(adapter / ADAPTER, {name: torch.ones(300_000, 1)})
    with ceiling():
        result = looked(adapter)
    assert "adapter-refused" in rules(result)
    assert "model.layers.0.mlp.up_proj" not in {update.module for update in result.updates}


def test_factors_beyond_what_numbers_hold_still_give_a_report(adapter: Path, model: Path) -> None:
    held = load_file(adapter / ADAPTER)
    wide = {name: tensor.double() for name, tensor in held.items()}
    for factor, value in (("A", 1e150), ("B", 1e150)):
        name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{factor}.weight"
        wide[name] = torch.full_like(wide[name], value)
    large = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
    wide[large] = torch.full_like(wide[large], 1e140)
    empty = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    change_tensors(adapter / ADAPTER, wide | {empty: torch.ones(0, 16)})
    for base in (None, model):
        result = looked(adapter, base)
        assert ScanResult.from_json(result.to_json()) == result and "adapter-refused" in rules(result)


def test_the_base_is_looked_through_too_and_compared(deep: Path, deep_adapter: Path, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", num_hidden_layers=5)
    (base / "training_args.bin").write_bytes(b"\x80\x04.")
    result = looked(deep_adapter, base)
    assert [finding.file for finding in result.findings if finding.rule == "pickle"] == ["base/training_args.bin"]
    weight = load_file(base / WEIGHTS)["model.layers.0.mlp.up_proj.weight"]
    update = next(one for one in result.updates if one.module == "model.layers.0.mlp.up_proj")
    assert update.relative == pytest.approx(update.frobenius / float(weight.norm()), rel=1e-5)
    other = save_tiny(tmp_path / "other")
    assert "adapter-refused" in rules(looked(deep_adapter, other))


def test_files_are_listed_with_what_becomes_of_them(model: Path) -> None:
    (model / "README.md").write_text("hello")
    (model / "merges.txt").write_text("#version: 0.2\n")
    fates = {file.name: file.fate for file in looked(model).files}
    assert fates["chat_template.jinja"] is Fate.KNOWN and fates["config.json"] is Fate.REGENERATED
    assert fates["README.md"] is Fate.LEFT_OUT and fates["merges.txt"] is Fate.FLAGGED
    put_template(model, PLAIN)
    listed = {file.name: file for file in looked(model).files}
    assert listed["chat_template.jinja"].fate is Fate.FLAGGED
    assert set(listed) == {path.name for path in model.iterdir()}
    assert all(len(file.sha256 or "") == 64 for file in listed.values())


def test_a_pipe_is_told_and_never_opened(model: Path) -> None:
    os.mkfifo(model / "extra.json")
    result = looked(model)
    assert "unsafe-file" in rules(result)
    assert next(file for file in result.files if file.name == "extra.json").sha256 is None


def test_a_broken_gguf_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUX")
    result = looked(tmp_path / "x.gguf")
    assert rules(result) == {"conversion-refused"} and result.exit_code == 3 and result.kind == "unknown"


def test_what_came_of_a_gguf_file_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("x.gguf", model, files={"x.gguf": "a" * 64})
    monkeypatch.setattr(scan_module, "locate", lambda reference, cache: source)
    (finding,) = (one for one in looked(model).findings if one.rule == "converted")
    assert "x.gguf" in finding.message and "a" * 64 in finding.message


def test_what_is_no_single_model_asks_for_a_choice(model: Path, adapter: Path) -> None:
    with pytest.raises(UsageError, match="is a whole model"):
        looked(model, adapter)
    with pytest.raises(UsageError, match="is an adapter"):
        looked(adapter, adapter)
    for path in adapter.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="a model and an adapter"):
        looked(model)


def test_a_wish_to_stop_is_heard_while_weights_are_read(model: Path) -> None:
    class Impatient(Silent):
        def stop(self) -> bool:
            return True

    with pytest.raises(Interrupted):
        scan(ScanRequest(str(model)), Impatient())


def test_limits_are_stated_and_nothing_is_called_clean(model: Path, adapter: Path) -> None:
    for one in (model, adapter):
        text = looked(one).to_json()
        assert "no proof of absence" in text and "clean" not in text.replace("untrigger", "").lower()
