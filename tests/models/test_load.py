from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig
from transformers.utils import logging as transformers_logging

from tiny import FAMILY_NAMES, SPECIAL, save_tiny, save_tiny_adapter, tiny_architecture, tiny_model
from untrigger.errors import InputRefused, UntriggerError, UsageError
from untrigger.files import sha256
from untrigger.models import hub, locate
from untrigger.models.load import cache_folder, identify, load

TOKENS = torch.arange(1, 9).unsqueeze(0)


def edit(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_family_loads_like_plain_transformers(tmp_path: Path, family: str) -> None:
    folder = save_tiny(tmp_path / "model", family)
    subject = load(str(folder), device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(subject.model(TOKENS).logits, plain(TOKENS).logits)
        torch.testing.assert_close(subject.model(TOKENS).logits, tiny_model(family)(TOKENS).logits)
    assert subject.access == "full"
    assert subject.architecture == tiny_architecture(family)


def test_the_source_records_every_file_with_its_hash(folder: Path) -> None:
    source = load(str(folder)).source
    assert source.reference == str(folder) and source.folder == folder and source.commit is None
    assert set(source.files) == {path.name for path in folder.iterdir()}
    assert all(sha256(folder / name) == value for name, value in source.files.items())


def test_types_default_to_single_precision_on_the_cpu(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", dtype=torch.bfloat16)
    assert load(str(folder), device="cpu").model.dtype == torch.float32
    assert load(str(folder), device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_sharded_model_loads(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", max_shard_size="8KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    with torch.no_grad():
        torch.testing.assert_close(load(str(folder)).model(TOKENS).logits, tiny_model()(TOKENS).logits)


@pytest.mark.parametrize("tied", [True, False])
def test_bad_input_18_ties_are_kept(tmp_path: Path, tied: bool) -> None:
    folder = save_tiny(tmp_path / "model", tie_word_embeddings=tied)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not tied
    model = load(str(folder)).model
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied


def test_an_own_padding_token_stays_and_a_missing_one_becomes_the_end_token(folder: Path) -> None:
    assert load(str(folder)).tokenizer.pad_token == SPECIAL[0]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    subject = load(str(folder))
    assert subject.tokenizer.pad_token == SPECIAL[2]
    assert subject.model.config.pad_token_id == subject.model.generation_config.pad_token_id == 2


def test_a_tokenizer_without_an_end_token_is_refused(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(InputRefused, match="no end token"):
        load(str(folder))


def test_bad_input_23_an_end_token_without_an_embedding_is_refused(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<filler {number}>" for number in range(10)])
    tokenizer.add_special_tokens({"eos_token": "<far>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputRefused, match="end token has number 269, the model 264 embeddings"):
        load(str(folder))


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "evil",
    [
        {"auto_map": {"AutoModelForCausalLM": "evil--model.Evil"}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "evil/kernel"},
        {"nested": [{"trust_remote_code": True}]},
    ],
    ids=["auto_map", "trust_remote_code", "attention", "nested"],
)
def test_bad_input_14_keys_that_bring_code_are_refused_without_network(
    folder: Path, where: str, evil: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: object) -> None:
        raise AssertionError("a network call")

    monkeypatch.setattr(socket.socket, "connect", connect)
    edit(folder / where, **evil)
    with pytest.raises(InputRefused, match=where.replace(".", r"\.")) as caught:
        load(str(folder))
    assert any(key in str(caught.value) for key in ("auto_map", "trust_remote_code", "_attn_implementation_internal"))


def test_words_of_the_vocabulary_are_no_configuration_keys(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {"_internal": 259, "trust_remote_code": 260}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert load(str(folder)).tokenizer.get_vocab()["_internal"] == 259


def test_bad_input_13_quantised_configurations_are_refused(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(InputRefused, match="quantization_config"):
        load(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 32}, r"shape \(24, 16\).*asks for \(24, 32\)"),
        ({"intermediate_size": 48}, r"shape \(24, 16\).*asks for \(48, 16\)"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2.* is missing"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1.* belongs to no part"),
        ({"num_hidden_layers": 10**9}, "holds? only 21 tensors"),
        ({"num_key_value_heads": 4}, r"k_proj.*shape \(8, 16\).*asks for \(16, 16\)"),
        ({"vocab_size": 300}, r"embed_tokens.*shape \(264, 16\).*asks for \(300, 16\)"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"num_labels": 10**9}, "num_labels is 1000000000"),
        ({"hidden_size": 2**62}, "asks for"),
        ({"attention_bias": True}, r"q_proj\.bias is missing"),
        ({"tie_word_embeddings": "yes"}, "no valid llama configuration"),
        ({"hidden_act": "evil"}, "no model can be built"),
        ({"rms_norm_eps": "x"}, "no valid llama configuration"),
        ({"model_type": "mixtral"}, "supported: llama"),
    ],
)
def test_bad_input_16_a_configuration_that_disagrees_with_the_tensors_is_refused(
    folder: Path, changes: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*arguments: object, **options: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", allocate)
    edit(folder / "config.json", **changes)
    with pytest.raises(InputRefused, match=message):
        load(str(folder))


def test_unknown_keys_are_left_out_of_the_configuration(folder: Path) -> None:
    edit(folder / "config.json", to_dict="evil", _name_or_path="x", forward=1)
    config = load(str(folder)).model.config
    assert callable(config.to_dict) and "forward" not in vars(config)


def test_the_tokenizer_is_never_given_the_unchecked_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: object, **options: object) -> None:
        raise AssertionError("config.json was read by the library")

    monkeypatch.setattr(AutoConfig, "from_pretrained", read)
    monkeypatch.setattr(PretrainedConfig, "get_config_dict", read)
    load(str(folder))


def test_bad_input_12_a_model_with_nan_is_refused(folder: Path) -> None:
    held = load_file(folder / "model.safetensors")
    held["model.norm.weight"][0] = float("nan")
    save_file(held, folder / "model.safetensors")
    with pytest.raises(InputRefused, match=r"NaN or infinity: model\.norm\.weight"):
        load(str(folder))


def test_integer_weights_are_refused(folder: Path) -> None:
    held = load_file(folder / "model.safetensors")
    held["model.norm.weight"] = held["model.norm.weight"].int()
    save_file(held, folder / "model.safetensors")
    with pytest.raises(InputRefused, match="floating point"):
        load(str(folder))


def test_buffers_of_older_checkpoints_are_accepted(folder: Path) -> None:
    held = load_file(folder / "model.safetensors")
    held["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        torch.testing.assert_close(load(str(folder)).model(TOKENS).logits, tiny_model()(TOKENS).logits)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\x00\x01"])
def test_bad_input_25_broken_tokenizers_are_refused(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputRefused, match="tokenizer"):
        load(str(folder))


def test_bad_input_23_merges_outside_the_vocabulary_are_refused(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["a", "b"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputRefused, match="the tokenizer fails"):
        load(str(folder))


@pytest.mark.parametrize("remove", ["config.json", "model.safetensors"])
def test_missing_files_are_named(folder: Path, remove: str) -> None:
    (folder / remove).unlink()
    with pytest.raises(InputRefused, match=remove):
        load(str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "quantum"}, "device 'quantum' is unknown"),
        ({"device": "cuda:99"}, "not available"),
        ({"dtype": "int4"}, "dtype 'int4' is unknown"),
        ({"base": "smollm2-135m"}, "whole model"),
    ],
)
def test_wrong_options_are_usage_errors(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(str(folder), **options)


def test_references_that_are_nothing_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    for reference, message in (
        (str(tmp_path / "none"), "does not exist"),
        (str(tmp_path / "weights.bin"), "neither"),
    ):
        with pytest.raises(UsageError, match=message):
            load(reference)


def test_libraries_speak_again_after_loading(folder: Path) -> None:
    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    load(str(folder))
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"UNTRIGGER_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/untrigger"),
        ({"HOME": "/home/x"}, "/home/x/.cache/untrigger"),
    ],
)
def test_the_cache_folder(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNTRIGGER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_a_built_in_name_stands_for_the_installed_file_or_else_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(reference: str) -> locate.Source:
        asked.append(reference)
        return locate.Source(reference=reference, folder=tmp_path, commit="0" * 40)

    monkeypatch.setattr(hub, "download", download)
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None)
    source = locate.locate("smollm2-135m", tmp_path)
    assert asked == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert source.reference == "smollm2-135m" and source.commit == "0" * 40


class Adapters:
    """An adapter and its base on disk."""

    def __init__(self, root: Path) -> None:
        self.base = save_tiny(root / "base")
        self.folder = save_tiny_adapter(root / "adapter", self.base)

    def load(self) -> object:
        return load(str(self.folder), base=str(self.base))


@pytest.fixture
def adapters(tmp_path: Path) -> Adapters:
    return Adapters(tmp_path)


def test_an_adapter_needs_its_base_named(adapters: Adapters) -> None:
    with pytest.raises(UsageError, match="pass --base"):
        load(str(adapters.folder))
    subject = load(str(adapters.folder), allow_base_from_config=True)
    assert subject.source.base is not None and subject.source.base.folder == adapters.base


@pytest.mark.parametrize("named", ["https://evil.example/x", "/not/there", "", None, 3])
def test_bad_input_29_a_base_that_is_no_folder_and_no_id_is_not_followed(adapters: Adapters, named: object) -> None:
    edit(adapters.folder / "adapter_config.json", base_model_name_or_path=named)
    with pytest.raises(UsageError, match="pass --base"):
        load(str(adapters.folder), allow_base_from_config=True)


def test_bad_input_29_a_base_on_the_hub_is_fetched_only_on_request(
    adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(reference: str) -> None:
        raise UntriggerError(f"fetching {reference}")

    monkeypatch.setattr(hub, "download", download)
    edit(adapters.folder / "adapter_config.json", base_model_name_or_path="org/name")
    with pytest.raises(UsageError, match="pass --base"):
        load(str(adapters.folder))
    with pytest.raises(UntriggerError, match="fetching org/name"):
        load(str(adapters.folder), allow_base_from_config=True)


def test_an_adapter_is_no_base(adapters: Adapters) -> None:
    with pytest.raises(UsageError, match="is an adapter"):
        load(str(adapters.folder), base=str(adapters.folder))


def test_bad_input_33_a_folder_with_a_model_and_an_adapter_or_with_several_asks(adapters: Adapters) -> None:
    with pytest.raises(UsageError, match="name one of adapter"):
        load(str(adapters.folder.parent))
    (adapters.folder / "model.safetensors").write_bytes((adapters.base / "model.safetensors").read_bytes())
    with pytest.raises(UsageError, match="a model and an adapter"):
        adapters.load()


def test_bad_input_24_an_adapter_with_another_vocabulary_is_refused(adapters: Adapters) -> None:
    tokenizer = AutoTokenizer.from_pretrained(adapters.base)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(adapters.folder)
    with pytest.raises(InputRefused, match="260 tokens, the base's 259"):
        adapters.load()


def test_identify_gives_the_source_of_load_without_loading(adapters: Adapters) -> None:
    assert identify(str(adapters.base)) == load(str(adapters.base)).source
    base = str(adapters.base)
    assert identify(str(adapters.folder), base=base) == load(str(adapters.folder), base=base).source
    with pytest.raises(UsageError, match="pass --base"):
        identify(str(adapters.folder))
    with pytest.raises(UsageError, match="is a whole model"):
        identify(base, base=base)
