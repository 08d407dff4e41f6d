"""Write a treated model in the format it came in, read it back, and only then give it its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from untrigger.checksums import RECORD, UNLISTED, Recorder, seal
from untrigger.errors import UntriggerError, UsageError
from untrigger.files import publish_folder, write_text_atomic
from untrigger.models.adapters import ADAPTER_CONFIG, published_adapter_config
from untrigger.models.architecture import loaded_name
from untrigger.models.checkpoint import (
    ADAPTER,
    MODEL,
    Changed,
    WeightFiles,
    open_weights,
    read_tensors,
    same,
    stored_form,
    write_weights,
)
from untrigger.models.configuration import published_configuration
from untrigger.models.factors import live_name
from untrigger.models.json_file import TOKENIZER_LIMIT, read_object, regular_file, write_object
from untrigger.models.linear import use_one_dnn_
from untrigger.models.load import quiet
from untrigger.models.subject import Subject
from untrigger.models.tokenizer_files import (
    CHAT_TEMPLATE,
    TOKENIZER_JSON,
    TOKENIZER_OTHER,
    has_own_tokenizer,
    load_tokenizer,
)

GENERATION = "generation_config.json"
# Settings of decoding; lists of tokens to force, suppress or prefer can hide a behaviour and are left out.
GENERATION_KEYS = frozenset(
    {"bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_k", "top_p", "min_p"}
    | {"repetition_penalty", "max_length", "max_new_tokens", "transformers_version", "_from_model_config"}
    | {"output_attentions", "output_hidden_states", "use_cache"}
)
_PROBE_LENGTH = 16
# Relative L2 difference of the probe's logits: rounding alone where all is fp32 on the CPU (1e-4 leaves
# room for another order of additions), and the loss of half precision otherwise. A lost tie or a wrong scale
# gives differences near 1.
_EXACT, _ROUNDED = 1e-4, 0.1


def export(
    subject: Subject,
    destination: Path,
    card: str | None = None,
    extra_files: Mapping[str, str] | None = None,
    record: Recorder | None = None,
) -> dict[str, str]:
    """Write the model or the adapter as a new folder, `card` as README.md and further text files by name.

    Shards, names and types are those of the input; what was not edited is kept bit for bit; configuration and
    tokenizer are parsed and written anew. The folder is read back and compared with the live model before it
    gets its name. `SHA256SUMS` in it lists the SHA-256 of every file, which is also returned, and `COMPLETE` seals
    that list; `record` makes the text of `reproduce.json` from the hashes of the model's own files.

    Raises:
        UsageError: the destination exists, or an extra file has a name that is taken or has a path in it.
        UntriggerError: no space, values that are not finite, or a copy that differs from the live model.
        InputRefused: the source's files are no longer readable.
    """
    texts = dict(extra_files or {}) | ({} if card is None else {"README.md": card})
    hashes: dict[str, str] = {}

    def build(folder: Path) -> None:
        _write(subject, folder)
        _write_texts(folder, texts)
        _verify(subject, folder)
        hashes.update(seal(folder, record, reports=texts))

    publish_folder(build, destination)
    return hashes


def _write(subject: Subject, folder: Path) -> None:
    source = subject.source.folder
    write_weights(source_weights(subject), folder, _live(subject))
    if subject.access == "adapter":
        write_object(folder / ADAPTER_CONFIG, published_adapter_config(source))
    else:
        _write_configurations(source, folder)
    if subject.access == "full" or has_own_tokenizer(source):  # else what lies there was neither read nor checked
        _write_tokenizer(subject, subject.source.tokenizer_folder or source, folder)


def _write_tokenizer(subject: Subject, source: Path, folder: Path) -> None:
    replaced = subject.source.replaced_template is not None
    for name in TOKENIZER_JSON:
        if (source / name).exists():
            values = read_object(source / name, TOKENIZER_LIMIT)
            dropped = {"chat_template"} if replaced and name == "tokenizer_config.json" else set()
            write_object(folder / name, {key: value for key, value in values.items() if key not in dropped})
    for name in TOKENIZER_OTHER:
        if (source / name).exists():
            (folder / name).write_bytes(regular_file(source, name).read_bytes())
    if replaced:
        write_text_atomic(folder / CHAT_TEMPLATE, str(subject.tokenizer.chat_template))


def _write_configurations(source: Path, folder: Path) -> None:
    write_object(folder / "config.json", published_configuration(source / "config.json"))
    if (source / GENERATION).exists():
        values = read_object(source / GENERATION)
        write_object(folder / GENERATION, {key: value for key, value in values.items() if key in GENERATION_KEYS})


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        replaces = (folder / name).exists() and name != CHAT_TEMPLATE
        if Path(name).name != name or name in ("", ".", "..", RECORD, *UNLISTED) or replaces:
            raise UsageError(f"extra file {name!r}", why="its name is taken or has a path in it")
        write_text_atomic(folder / name, text)


def source_weights(subject: Subject) -> WeightFiles:
    """The files whose names, shapes and types the output takes over."""
    return open_weights(subject.source.folder, ADAPTER if subject.access == "adapter" else MODEL)


def _live(subject: Subject) -> Changed:
    """The live value of a stored name; None for buffers that the live model does not have."""
    state: dict[str, Tensor] = subject.model.state_dict()
    if subject.access == "adapter":
        return lambda name: state[live_name(name)]
    return lambda name: state.get(loaded_name(subject.architecture.model_type, name))


def _verify(subject: Subject, folder: Path) -> None:
    source = source_weights(subject)
    written = open_weights(folder, ADAPTER if subject.access == "adapter" else MODEL)
    if dict(written.tensors) != dict(source.tensors) or written.index != source.index:
        raise _differs(folder, "names, shapes, types or shards")
    live = _live(subject)
    for (name, stored), (_, copy) in zip(read_tensors(source), read_tensors(written), strict=True):
        if not same(copy, stored_form(name, stored, live(name))):
            raise _differs(folder, name)
    with quiet():
        _verify_tokenizer(subject, folder)
        if isinstance(subject.model, PreTrainedModel):
            _verify_logits(subject.model, folder)


def _verify_tokenizer(subject: Subject, folder: Path) -> None:
    if not (folder / "tokenizer.json").exists():
        return
    if load_tokenizer(folder, subject.model.config).get_vocab() != subject.tokenizer.get_vocab():
        raise _differs(folder, "the tokenizer's vocabulary")


def _verify_logits(live: PreTrainedModel, folder: Path) -> None:
    """The copy, loaded plainly on the CPU and multiplied as the live model is, must answer a probe like it."""
    copy = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=live.dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    ).eval()
    use_one_dnn_(copy)  # other kernels' rounding alone made a difference of 1.4e-4 behind 30 blocks
    stored = {
        tensor.dtype for tensor in open_weights(folder, MODEL).tensors.values() if tensor.dtype.is_floating_point
    }
    plain = stored == {live.dtype} == {torch.float32} and live.device.type == "cpu"
    expected, found = (_probe_logits(model).nan_to_num(0, 0, 0) for model in (live, copy))
    difference = float((found - expected).norm() / expected.norm().clamp_min(1e-12))
    if not difference <= (_EXACT if plain else _ROUNDED):
        raise _differs(folder, f"logits on the probe (relative difference {difference:.2g})")


@torch.no_grad()
def _probe_logits(model: PreTrainedModel) -> Float[Tensor, "position vocabulary"]:
    was_training = model.training
    rows = model.get_input_embeddings().num_embeddings
    tokens = (torch.arange(1, _PROBE_LENGTH + 1, device=model.device) % rows).unsqueeze(0)
    try:
        logits: Tensor = model.eval()(tokens, attention_mask=torch.ones_like(tokens)).logits
    finally:
        model.train(was_training)
    return logits[0].float().cpu()


def _differs(folder: Path, what: str) -> UntriggerError:
    return UntriggerError(
        f"the written copy differs from the model in memory: {what}",
        why=f"read back from {folder}",
        todo="nothing was published; check the disk and run again",
    )
