"""From a hostile config.json to a configuration that agrees with the weights, before any allocation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from untrigger.errors import InputRefused
from untrigger.models.architecture import Architecture, describe, loaded_name, read_shape
from untrigger.models.checkpoint import StoredTensor, WeightFiles
from untrigger.models.json_file import read_object

# Keys that name code to run or a place to fetch it from.
_REFUSED_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines")
_QUANTISATION_KEYS = ("quantization_config", "compression_config")
# Last names of the parts that GPTQ, AWQ, compressed-tensors, MXFP4 and bitsandbytes make of a weight.
_PACKED_PARTS = (".qweight", ".weight_packed", "_blocks", ".quant_map")
# Values of these keys may name a repository with code of its own.
_IMPLEMENTATION_KEYS = (
    "_attn_implementation",
    "attn_implementation",
    "_experts_implementation",
    "experts_implementation",
)
# Older spellings that the configuration classes translate themselves.
_OLDER_KEYS = frozenset(
    {
        "rope_theta",
        "rope_scaling",
        "rope_local_base_freq",
        "partial_rotary_factor",
        "rotary_pct",
        "rotary_emb_base",
    }
    | {"sliding_window_pattern", "head_dim"}
)
# Class labels have no part in a language model, and a large number of them costs memory.
_DROPPED_FIELDS = frozenset({"id2label", "label2id", "problem_type", "dtype", "architectures"})
_WRITTEN_KEYS = frozenset({"model_type", "architectures", "dtype", "torch_dtype", "transformers_version"})
# Buffers that older checkpoints store and that models now compute; they are copied to the output as they are.
_INERT_BUFFERS = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
# Sizes that libraries allocate by, whatever the tensors say: rows of the vocabulary, names of class labels.
_LARGEST = {"vocab_size": 2**24, "num_labels": 10_000}


@dataclass(frozen=True)
class Configuration:
    """A checked configuration and the layout it describes."""

    values: PretrainedConfig
    architecture: Architecture


def refuse_unsafe_keys(path: Path, value: object) -> None:
    """Look through a JSON value, nested parts too, for keys that would run or fetch code or that mark quantisation.

    Raises:
        InputRefused: naming the file and the key.
    """
    for refusal in unsafe_keys(path, value).values():
        raise refusal


def unsafe_keys(path: Path, value: object) -> dict[str, InputRefused]:
    """Every key that `refuse_unsafe_keys` refuses, with its refusal."""
    found: dict[str, InputRefused] = {}
    for key, held in _items(value):
        names_code = key in _IMPLEMENTATION_KEYS and not (held is None or (isinstance(held, str) and "/" not in held))
        if key in _REFUSED_KEYS or key.endswith("_internal") or "_hub_" in key or names_code:
            found[key] = InputRefused(
                f"{path}: {key} is not accepted",
                why="it can make a library run or fetch code",
                todo="remove the key if the model needs no code of its own, else use a plain checkpoint",
            )
        if key in _QUANTISATION_KEYS:
            method = held.get("quant_method") if isinstance(held, dict) else held
            found[key] = InputRefused(
                f"{path}: {key} is not accepted",
                why=f"unsupported quantised checkpoint ({str(method)[:40]})",
                todo="use the checkpoint that it was quantised from",
            )
    return found


def read_configuration(folder: Path, weights: WeightFiles) -> Configuration:
    """Read config.json, rebuild it from its known fields and compare it with the tensors' names and shapes.

    Raises:
        InputRefused: a broken, unsafe or unsupported configuration, or one that disagrees with the weights.
    """
    path = folder / "config.json"
    values = read_object(path)
    refuse_unsafe_keys(path, values)
    _refuse_large(path, values)
    _refuse_packed(weights)
    shape = read_shape(values)
    if shape.num_hidden_layers > len(weights.tensors):
        raise InputRefused(
            f"{path}: num_hidden_layers is {shape.num_hidden_layers}",
            why=f"the weights hold only {len(weights.tensors)} tensors",
        )
    architecture = describe(shape)
    _check_projections(weights, architecture)
    config = _rebuild(path, shape.model_type, values)
    stored = {loaded_name(shape.model_type, name): tensor for name, tensor in weights.tensors.items()}
    _check_all(path, stored, empty_model(path, config))
    return Configuration(config, architecture)


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
        for item in value.values():
            yield from _items(item)
    elif isinstance(value, list):
        for item in value:
            yield from _items(item)


def _refuse_large(path: Path, values: Mapping[str, object]) -> None:
    for key, largest in _LARGEST.items():
        value = values.get(key, 0)
        if not isinstance(value, int) or not 0 <= value <= largest:
            raise InputRefused(f"{path}: {key} is {value!r}", why=f"a whole number of at most {largest} is needed")


def _refuse_packed(weights: WeightFiles) -> None:
    for name, tensor in weights.tensors.items():
        if name.endswith(_PACKED_PARTS):
            raise InputRefused(
                f"{weights.folder / tensor.shard}: {name} is part of a packed weight",
                why="unsupported quantised checkpoint",
                todo="use the checkpoint that it was quantised from",
            )


def _rebuild(path: Path, model_type: str, values: Mapping[str, object]) -> PretrainedConfig:
    known = _known_keys(model_type) - _DROPPED_FIELDS
    try:
        return CONFIG_MAPPING[model_type].from_dict({key: value for key, value in values.items() if key in known})
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputRefused(f"{path}: no valid {model_type} configuration", why=str(error)) from error


def published_configuration(path: Path) -> dict[str, object]:
    """What of a checked config.json belongs in a copy: the fields of its family, and what says how it was written."""
    values = read_object(path)
    known = _known_keys(read_shape(values).model_type) | _WRITTEN_KEYS
    return {key: value for key, value in values.items() if key in known}


def _known_keys(model_type: str) -> frozenset[str]:
    return frozenset(field.name for field in fields(CONFIG_MAPPING[model_type])) | _OLDER_KEYS


def empty_model(path: Path, config: PretrainedConfig) -> PreTrainedModel:
    """The model without memory: names and shapes alone.

    Raises:
        InputRefused: none can be built.
    """
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        AssertionError,
        ImportError,
    ) as error:
        raise InputRefused(f"{path}: no model can be built from it", why=str(error)) from error
    return model


def _check_projections(weights: WeightFiles, architecture: Architecture) -> None:
    """Compare the block matrices first: their sizes bound what the empty model is built from."""
    hidden = architecture.hidden_size
    shapes = {  # of the roles that share a fused weight, the last one ends where the weight ends
        projection.weight: (projection.stop, hidden) if projection.axis == 0 else (hidden, projection.stop)
        for projection in architecture.projections()
    }
    for name, shape in shapes.items():
        _compare(name, weights.tensors.get(name), shape)


def _check_all(path: Path, stored: Mapping[str, StoredTensor], model: nn.Module) -> None:
    """Compare every tensor; one of several tied names is enough, and inert buffers may be there besides."""
    expected = model.state_dict(keep_vars=True)
    present = {id(parameter) for name, parameter in expected.items() if name in stored}
    for name, parameter in expected.items():
        if name in stored or id(parameter) not in present:
            _compare(name, stored.get(name), tuple(parameter.shape))
    for name in stored.keys() - expected.keys():
        if not name.endswith(_INERT_BUFFERS):
            raise InputRefused(f"{path.parent}: tensor {name} belongs to no part of the model config.json describes")


def _compare(name: str, stored: StoredTensor | None, expected: tuple[int, ...]) -> None:
    if stored is None:
        raise InputRefused(f"tensor {name} is missing", why=f"config.json asks for one of shape {expected}")
    if stored.shape != expected:
        raise InputRefused(f"tensor {name} has shape {stored.shape}", why=f"config.json asks for {expected}")
    if not stored.dtype.is_floating_point:
        raise InputRefused(f"tensor {name} is stored as {stored.dtype}", why="weights must be floating point")
