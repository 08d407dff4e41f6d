"""From what a user names (folder, hub id, GGUF, adapter, built-in name) to a Subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from untrigger.errors import InputRefused, UsageError
from untrigger.files import sha256
from untrigger.models import hub
from untrigger.models.adapters import (
    ADAPTER_CONFIG,
    base_reference,
    is_adapter,
    load_adapter,
    read_adapter_config,
    scaling,
)
from untrigger.models.checkpoint import ADAPTER, MODEL, WeightFiles, open_weights, refuse_nonfinite
from untrigger.models.configuration import Configuration, read_configuration, refuse_unsafe_keys
from untrigger.models.json_file import read_object
from untrigger.models.known_templates import replace_template_
from untrigger.models.linear import use_one_dnn_
from untrigger.models.locate import cache_folder, locate
from untrigger.models.placement import Placement, placement
from untrigger.models.subject import Source, Subject
from untrigger.models.tokenizer_files import (
    TOKENIZER_JSON,
    TOKENIZER_OTHER,
    adapter_tokenizer,
    load_tokenizer,
    template_findings,
)
from untrigger.models.untrusted.finding import Finding
from untrigger.models.untrusted.folder import check_folder, pickle_findings
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.vocabulary import check_rows

__all__ = ["cache_folder", "identify", "load", "quiet", "scaling"]


@dataclass(frozen=True)
class _Asked:
    """What the user asked for in spite of what a check finds."""

    accept_template: bool
    replace_template: str | None
    allow_nonfinite: bool


def load(
    reference: str,
    *,
    base: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    allow_base_from_config: bool = False,
    cache: Path | None = None,
    accept_template: bool = False,
    replace_template: str | None = None,
    allow_nonfinite: bool = False,
) -> Subject:
    """Load a model, or an adapter on its base, after checking every file that is read.

    Args:
        reference: a folder of safetensors, an adapter folder, a hub id (`org/name`, `hf://org/name@<commit>`),
            a `.gguf` file, or a built-in name (`smollm2-135m`, `micro`).
        base: the base model of an adapter, in any of these forms.
        device: `auto` (CUDA, then Metal, then the CPU) or a torch device.
        dtype: `auto` (bf16 on CUDA, fp32 on the CPU), `float32`, `bfloat16` or `float16`.
        allow_base_from_config: without `base`, take the base that the adapter names.
        cache: folder for converted and built-in models (default: `cache_folder()`).
        accept_template: go on although what the chat template puts out depends on what messages say.
        replace_template: name of a known chat template that is used in place of the model's own.
        allow_nonfinite: go on although weights hold NaN or infinity.

    Raises:
        InputRefused: unsafe, broken or unsupported files.
        UsageError: a reference that is nothing we know, a missing or needless base, a wrong device, dtype
            or template.
        UntriggerError: network, disk; anything that tries to reach the network once the files are here.
    """
    place, asked = placement(device, dtype), _Asked(accept_template, replace_template, allow_nonfinite)
    with quiet():
        source = _located(reference, base, allow_base_from_config, cache or cache_folder())
        with no_network():
            whole = _load_full(source.base or source, place, asked)
            return whole if source.base is None else _load_adapter(source, whole, asked)


def identify(
    reference: str,
    *,
    base: str | None = None,
    allow_base_from_config: bool = False,
    cache: Path | None = None,
) -> Source:
    """What `load` would read, fetched or converted, checked and hashed, without loading it.

    Raises:
        InputRefused: unsafe, broken or unsupported files; values that are not finite are found by `load` alone.
        UsageError: as `load`.
        UntriggerError: network, disk.
    """
    with quiet():
        source = _located(reference, base, allow_base_from_config, cache or cache_folder())
        if source.base is None:
            weights = open_weights(source.folder, MODEL)
            read_configuration(source.folder, weights)
            return replace(source, files=_full_files(source, weights))
        whole = open_weights(source.base.folder, MODEL)
        read_configuration(source.base.folder, whole)
        known_base = replace(source.base, files=_full_files(source.base, whole))
        return replace(source, files=_adapter_files(source), base=known_base)


def _located(reference: str, base: str | None, allow_base_from_config: bool, cache: Path) -> Source:
    """The folders of a reference; its base is set if it is an adapter."""
    source = locate(reference, cache)
    check_folder(source.folder)
    if not is_adapter(source.folder):
        if base is not None:
            raise UsageError(f"{reference} is a whole model", why="a base belongs to an adapter", todo="drop --base")
        return source
    read_adapter_config(source.folder)  # a hostile adapter is refused before its base is looked for
    base_source = locate(_base_of(source, base, allow_base_from_config), cache)
    check_folder(base_source.folder)
    if is_adapter(base_source.folder):
        raise UsageError(f"{base_source.reference} is an adapter", todo="name the whole model it was trained on")
    return replace(source, base=base_source)


def _base_of(source: Source, base: str | None, allowed: bool) -> str:
    if base is not None:
        return base
    named = base_reference(source.folder)
    known = named is not None and (Path(named).is_dir() or hub.is_hub_reference(named))
    if named is not None and known and allowed:
        return named
    raise UsageError(
        f"{source.reference} is an adapter and needs its base model",
        why=f"it names {named!r}, which is not followed unasked" if named else "it names none",
        todo="pass --base MODEL",
    )


def _load_full(source: Source, place: Placement, asked: _Asked) -> Subject:
    weights = open_weights(source.folder, MODEL)
    configuration = read_configuration(source.folder, weights)
    finite = refuse_nonfinite(weights, allowed=asked.allow_nonfinite)
    tokenizer = load_tokenizer(source.folder, configuration.values)
    templates = _settle_template(source.folder, tokenizer, asked)
    model = _load_model(source.folder, configuration, place.dtype_for(weights)).to(place.device)
    use_one_dnn_(model)
    _share_padding(model, tokenizer)
    rows = check_rows(tokenizer, model.get_input_embeddings().num_embeddings)
    findings = (*pickle_findings(source.folder), *finite, *templates, *rows)
    known = replace(source, files=_full_files(source, weights), replaced_template=asked.replace_template)
    return Subject(model, tokenizer, configuration.architecture, "full", known, findings)


def _load_adapter(source: Source, base: Subject, asked: _Asked) -> Subject:
    if not isinstance(base.model, PreTrainedModel):
        raise UsageError(f"{base.source.reference} is no whole model", todo="name the adapter's base")
    tokenizer = adapter_tokenizer(source.folder, base.tokenizer, base.model.config)
    own = tokenizer is not base.tokenizer
    templates = _settle_template(source.folder, tokenizer, asked) if own else ()
    finite = refuse_nonfinite(open_weights(source.folder, ADAPTER), allowed=asked.allow_nonfinite)
    model = load_adapter(base.model, source.folder).eval()
    findings = dict.fromkeys((*base.findings, *pickle_findings(source.folder), *finite, *templates))
    known = replace(
        source,
        files=_adapter_files(source),
        base=base.source,
        replaced_template=asked.replace_template if own else None,
    )
    return Subject(model, tokenizer, base.architecture, "adapter", known, tuple(findings))


def _settle_template(folder: Path, tokenizer: PreTrainedTokenizerBase, asked: _Asked) -> tuple[Finding, ...]:
    if asked.replace_template is not None:
        return (replace_template_(tokenizer, asked.replace_template),)
    return template_findings(folder, tokenizer, accept_template=asked.accept_template)


def _load_model(folder: Path, configuration: Configuration, dtype: torch.dtype) -> PreTrainedModel:
    generation = folder / "generation_config.json"
    if generation.exists():
        refuse_unsafe_keys(generation, read_object(generation))
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=configuration.values,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputRefused(f"{folder} cannot be loaded", why=str(error)) from error
    wrong = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if wrong:
        raise InputRefused(f"{folder}: tensors do not fit the model: {', '.join(wrong[:10])}")
    loaded: PreTrainedModel = model.eval()
    _refuse_loose_tie(folder, loaded)
    return loaded


def _refuse_loose_tie(folder: Path, model: PreTrainedModel) -> None:
    """The library leaves a stored output layer of other values untied, whatever the configuration says."""
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if model.config.tie_word_embeddings and not tied:
        raise InputRefused(
            f"{folder}: config.json ties the output layer to the embedding, and the weights hold another one",
            why="libraries disagree on which of the two is used",
            todo="set tie_word_embeddings to false if the stored one is meant, or else leave it out",
        )


def _share_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _full_files(source: Source, weights: WeightFiles) -> dict[str, str]:
    return dict(source.files) | _hashes(source.folder, weights, "config.json", "generation_config.json")


def _adapter_files(source: Source) -> dict[str, str]:
    return dict(source.files) | _hashes(source.folder, open_weights(source.folder, ADAPTER), ADAPTER_CONFIG)


def _hashes(folder: Path, weights: WeightFiles, *others: str) -> dict[str, str]:
    index = () if weights.index is None else (weights.index,)
    names = (*weights.shards, *index, *others, *TOKENIZER_JSON, *TOKENIZER_OTHER)
    return {name: sha256(folder / name) for name in names if (folder / name).exists()}


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and reports of libraries; what matters in them is raised as an error instead."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
