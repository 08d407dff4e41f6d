from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny import FAMILY_NAMES, save_tiny, save_tiny_adapter
from untrigger.checksums import listed
from untrigger.errors import UntriggerError, UsageError
from untrigger.files import sha256
from untrigger.models import export as export_module
from untrigger.models import linear
from untrigger.models.checkpoint import open_weights, read_tensors
from untrigger.models.export import export
from untrigger.models.load import load
from untrigger.models.subject import Subject

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
TOKENS = torch.arange(1, 9).unsqueeze(0)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def plain(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def edit(subject: Subject) -> None:
    """Change one row of every projection and of the output layer in place."""
    subject.model.get_output_embeddings().weight.data[1] += 0.5
    for projection in subject.architecture.projections():
        subject.model.get_parameter(projection.weight).data[1] += 0.5


def read(folder: Path, stem: str = "model") -> dict[str, Tensor]:
    return dict(read_tensors(open_weights(folder, stem)))


VARIANTS = [
    *((family, {}) for family in FAMILY_NAMES),
    ("llama", {"dtype": torch.bfloat16}),
    ("llama", {"dtype": torch.float16}),
    ("mistral", {"max_shard_size": "8KB"}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False, "dtype": torch.bfloat16, "max_shard_size": "4KB"}),
]


@pytest.mark.parametrize(("family", "options"), VARIANTS, ids=str)
def test_an_edited_model_comes_out_in_the_format_it_came_in(
    tmp_path: Path, family: str, options: dict[str, object]
) -> None:
    source, out = save_tiny(tmp_path / "in", family, **options), tmp_path / "out"
    subject = load(str(source), device="cpu")
    edit(subject)
    export(subject, out)
    before, after = open_weights(source), open_weights(out)
    assert (dict(after.tensors), after.index) == (dict(before.tensors), before.index)
    rounding = 0.0 if options.get("dtype", torch.float32) == torch.float32 else 2e-2
    found, expected = logits(plain(out)), logits(subject.model)
    assert (found - expected).norm() <= rounding * expected.norm() + 1e-6
    assert (logits(plain(source)) - expected).norm() > 0.05 * expected.norm()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_not_edited_is_kept_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    source, out = save_tiny(tmp_path / "in"), tmp_path / "out"
    subject = load(str(source), dtype=dtype, device="cpu")
    subject.model.get_parameter("model.norm.weight").data[0] = 3
    export(subject, out)
    before, after = read(source), read(out)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"model.norm.weight"}


def test_the_list_holds_the_hash_of_every_file_and_complete_that_of_the_list(tmp_path: Path) -> None:
    out = tmp_path / "out"
    returned = export(load(str(save_tiny(tmp_path / "in"))), out, card="# Card", extra_files={"report.txt": "text"})
    assert listed(out) == returned
    assert json.loads((out / "COMPLETE").read_text()) == {"SHA256SUMS": sha256(out / "SHA256SUMS")}
    assert {path.name for path in out.iterdir()} == {*returned, "COMPLETE", "SHA256SUMS"}
    assert all(sha256(out / name) == value for name, value in returned.items())
    assert (out / "README.md").read_text() == "# Card" and (out / "report.txt").read_text() == "text"


def test_configuration_and_tokenizer_come_along_and_nothing_else(tmp_path: Path) -> None:
    source, out = save_tiny(tmp_path / "in"), tmp_path / "out"
    expected = {path.name for path in source.iterdir()} | {"COMPLETE", "SHA256SUMS"}
    for name in ("pytorch_model.bin", "modeling_evil.py", "README.md", "training_args.bin"):
        (source / name).write_text("x")
    export(load(str(source)), out)
    assert {path.name for path in out.iterdir()} == expected
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert json.loads((out / name).read_text()) == json.loads((source / name).read_text())
    chat = [{"role": "user", "content": "Grüß dich"}]
    ours, theirs = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(source)
    assert ours.apply_chat_template(chat)["input_ids"] == theirs.apply_chat_template(chat)["input_ids"]


def test_a_chat_template_may_be_replaced_but_no_other_file(tmp_path: Path) -> None:
    subject = load(str(save_tiny(tmp_path / "in")))
    export(subject, tmp_path / "out", extra_files={"chat_template.jinja": "{{ 1 }}"})
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "{{ 1 }}"
    for name in ("config.json", "../escaped.txt", "COMPLETE", "SHA256SUMS", "reproduce.json", "model.safetensors"):
        with pytest.raises(UsageError, match="extra file"):
            export(subject, tmp_path / "other", extra_files={name: "x"})
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_bad_input_44_an_existing_destination_is_refused_and_untouched(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "in")
    before = {path.name: sha256(path) for path in source.iterdir()}
    with pytest.raises(UsageError, match="exists already"):
        export(load(str(source)), source)
    assert {path.name: sha256(path) for path in source.iterdir()} == before


def test_weights_that_are_not_finite_are_not_published(tmp_path: Path) -> None:
    subject = load(str(save_tiny(tmp_path / "in")))
    subject.model.get_parameter("model.norm.weight").data[0] = float("nan")
    with pytest.raises(UntriggerError, match=r"model\.norm\.weight: NaN"):
        export(subject, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_guarantee_5_a_copy_with_other_values_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load(str(save_tiny(tmp_path / "in")))
    edit(subject)
    write = export_module.write_weights
    monkeypatch.setattr(
        export_module, "write_weights", lambda weights, folder, changed: write(weights, folder, _none)
    )
    with pytest.raises(UntriggerError, match=r"differs from the model in memory: lm_head\.weight"):
        export(subject, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def _none(name: str) -> None:
    """Changes nothing."""


def test_guarantee_5_a_copy_that_answers_otherwise_is_not_published(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "in")
    subject = load(str(source))
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 10.0}))
    with pytest.raises(UntriggerError, match="logits on the probe"):
        export(subject, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_how_the_live_model_multiplies_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, product = load(str(save_tiny(tmp_path / "in"))), linear.product
    monkeypatch.setattr(linear, "product", lambda x, weight: product(x, weight) * 1.001)
    export(subject, tmp_path / "out")
    assert listed(tmp_path / "out")


def test_the_model_is_left_in_the_mode_it_was_in(tmp_path: Path) -> None:
    subject = load(str(save_tiny(tmp_path / "in")))
    subject.model.train()
    export(subject, tmp_path / "out")
    assert subject.model.training


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edited_adapter_comes_out_in_the_format_it_came_in(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    base = save_tiny(tmp_path / "base", family)
    source = save_tiny_adapter(tmp_path / "in", base, rank_pattern={"down_proj": 2})
    narrow(source, dtype)
    subject = load(str(source), base=str(base))
    for name, parameter in subject.model.named_parameters():
        if "lora_B" in name:
            parameter.data[3] = 0
    export(subject, tmp_path / "out", card="text")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("adapter_model.safetensors", "adapter_config.json", "README.md", "COMPLETE", "SHA256SUMS")
    }
    before, after = open_weights(source, "adapter_model"), open_weights(tmp_path / "out", "adapter_model")
    assert dict(before.tensors) == dict(after.tensors)
    assert all(tensor[3].eq(0).all() for name, tensor in read_tensors(after) if "lora_B" in name)
    again = PeftModel.from_pretrained(plain(base), tmp_path / "out").eval()
    torch.testing.assert_close(logits(again), logits(subject.model))
    ours, theirs = (json.loads((path / "adapter_config.json").read_text()) for path in (tmp_path / "out", source))
    assert ours == theirs | {"inference_mode": True}


def narrow(folder: Path, dtype: torch.dtype) -> None:
    """Store an adapter's factors in another type."""
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
