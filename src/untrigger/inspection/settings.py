"""config.json and generation_config.json: unsafe keys, keys that steer every answer, keys that nothing needs."""

from __future__ import annotations

from collections.abc import Mapping

from untrigger.inspection.findings import Collector
from untrigger.models.checkpoint import WeightFiles
from untrigger.models.configuration import (
    Configuration,
    published_configuration,
    read_configuration,
    unsafe_keys,
)
from untrigger.models.export import GENERATION, GENERATION_KEYS
from untrigger.models.json_file import read_object

CONFIG = "config.json"
_STEERING = frozenset(
    {"forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids", "force_words_ids", "constraints"}
    | {"suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias", "stop_strings"}
)
"""Settings of transformers' GenerationConfig that name tokens or words."""
_NAMES_SHOWN = 10


def check_configuration(found: Collector, weights: WeightFiles | None) -> Configuration | None:
    """Everything about config.json; the configuration if it is one and agrees with the weights."""
    path = found.folder / CONFIG
    values = found.attempt("configuration-refused", CONFIG, lambda: read_object(path))
    if values is None:
        return None
    if _unsafe(found, CONFIG, values):
        return None
    _steering(found, CONFIG, values)
    if weights is None:
        return None
    read = found.attempt("configuration-refused", CONFIG, lambda: read_configuration(found.folder, weights))
    if read is not None:
        dropped = values.keys() - published_configuration(path).keys() - _STEERING
        _tell_of_dropped(found, CONFIG, {key: values[key] for key in dropped})
    return read


def check_generation(found: Collector) -> None:
    """Everything about generation_config.json, if there is one."""
    path = found.folder / GENERATION
    if not path.exists():
        return
    values = found.attempt("configuration-refused", GENERATION, lambda: read_object(path))
    if values is not None and not _unsafe(found, GENERATION, values):
        _steering(found, GENERATION, values)
        rest = {key: value for key, value in values.items() if key not in GENERATION_KEYS | _STEERING}
        _tell_of_dropped(found, GENERATION, rest)


def _unsafe(found: Collector, file: str, values: Mapping[str, object]) -> bool:
    refused = unsafe_keys(found.folder / file, values)
    for key, refusal in refused.items():
        found.refusal("configuration-refused", file, refusal, field=key)
    return bool(refused)


def _steering(found: Collector, file: str, values: Mapping[str, object]) -> None:
    for key in sorted(_STEERING & values.keys()):
        if values[key] not in (None, [], {}, ""):
            text = f"{key} is set: it forces, forbids or prefers tokens in all answers; a purified copy leaves it out"
            found.add("steered-generation", file, text, field=key, todo="ask the model's source what it is for")


def _tell_of_dropped(found: Collector, file: str, values: Mapping[str, object]) -> None:
    names = sorted(key for key, value in values.items() if value not in (None, [], {}))
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        found.add("dropped-settings", file, f"{len(names)} settings that a purified copy leaves out: {shown}")
