from __future__ import annotations

import json
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


def test_words_of_the_vocabulary_are_no_configuration_keys(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {"_internal": 259, "trust_remote_code": 260}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert load(str(folder)).tokenizer.get_vocab()["_internal"] == 259


@pytest.mark.parametrize("changes", [{"_attn_implementation": "eager"}, {"max_position_embeddings": 10**15}], ids=str)
def test_settings_that_bring_no_code_and_allocate_nothing_are_accepted(
    folder: Path, changes: dict[str, object]
) -> None:
    edit(folder / "config.json", **changes)
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


def test_identify_gives_the_source_of_load_without_loading(adapters: Adapters) -> None:
    assert identify(str(adapters.base)) == load(str(adapters.base)).source
    base = str(adapters.base)
    assert identify(str(adapters.folder), base=base) == load(str(adapters.folder), base=base).source
    with pytest.raises(UsageError, match="pass --base"):
        identify(str(adapters.folder))
    with pytest.raises(UsageError, match="is a whole model"):
        identify(base, base=base)
