"""LoRA adapters of hostile origin: checked against the base model, then loaded by peft; and their scales."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from math import sqrt
from pathlib import Path

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.other import get_pattern_key
from transformers import PreTrainedModel

from untrigger.errors import InputRefused, UsageError
from untrigger.models.checkpoint import ADAPTER, open_weights
from untrigger.models.configuration import refuse_unsafe_keys
from untrigger.models.factors import ADAPTER_NAME, PREFIX, adapted_modules, factor_faults
from untrigger.models.fused_adapter import fuse
from untrigger.models.json_file import read_object
from untrigger.models.subject import Subject

ADAPTER_CONFIG = "adapter_config.json"
# Modules are told by the stored names, so the fields that only choose modules need not be trusted; the others
# here say nothing of the weights. Every field that is not listed must be at its default.
_UNUSED = frozenset(
    {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout"}
    | {"peft_type", "peft_version", "task_type", "inference_mode", "base_model_name_or_path", "revision"}
    | {"auto_mapping", "megatron_core", "runtime_config"}
)
_READ = frozenset({"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"})
_FIELDS = frozenset(field.name for field in fields(LoraConfig))
# Of these a text is an expression.
_CHOOSING = ("target_modules", "exclude_modules", "layers_pattern")
# Initialisations that change the base's weights too (PiSSA, OLoRA, ...) would make another model of the base.
_PLAIN_INITIALISATIONS = (True, False, "gaussian")
# A pattern is a module name or the end of one; quantifiers other than \d+ could make matching take for ever.
_PATTERN = re.compile(r"\^?(?:[A-Za-z0-9_.]|\\\.|\\d\+?)+\$?")
# The folders that the trainer of transformers leaves.
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_LARGEST_RANK = 8192
_LARGEST_ALPHA = 1e6
_MOST_PATTERNS = 10_000


@dataclass(frozen=True)
class AdapterConfig:
    """The part of adapter_config.json that decides what the adapter computes."""

    rank: int
    alpha: float
    rank_stabilised: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    def rank_of(self, module: str) -> int:
        """The rank stated for a module."""
        return self.rank_pattern.get(get_pattern_key(list(self.rank_pattern), module), self.rank)

    def scale_of(self, module: str) -> float:
        """The factor on a module's B A: alpha / r, or alpha / sqrt(r) where it is rank-stabilised."""
        alpha = self.alpha_pattern.get(get_pattern_key(list(self.alpha_pattern), module), self.alpha)
        rank = self.rank_of(module)
        return alpha / (sqrt(rank) if self.rank_stabilised else rank)

    def to_peft(self, modules: list[str]) -> LoraConfig:
        """The same for peft, on exactly these modules."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            use_rslora=self.rank_stabilised,
            rank_pattern=dict(self.rank_pattern),
            alpha_pattern=dict(self.alpha_pattern),
            target_modules=modules,
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter.

    Checkpoints of a training beside its last adapter are no choice; peft puts further adapters in subfolders.

    Raises:
        UsageError: it holds a whole model as well, or several adapters.
    """
    whole = (folder / "model.safetensors").exists() or (folder / "model.safetensors.index.json").exists()
    inner = sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if (folder / ADAPTER_CONFIG).exists():
        if whole:
            raise UsageError(f"{folder} holds a model and an adapter", todo="put them in two folders and name one")
        others = [name for name in inner if not _CHECKPOINT.fullmatch(name)]
        if others:
            raise UsageError(
                f"{folder} holds an adapter and others in subfolders",
                todo=f"name one of {', '.join(others)}, or put the outer one in a folder of its own",
            )
        return True
    if inner and not whole:
        raise UsageError(f"{folder} holds adapters in subfolders", todo=f"name one of {', '.join(inner)}")
    return False


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Check adapter_config.json.

    Raises:
        InputRefused: no LoRA, a part that is not purified (modules_to_save, DoRA, biases, token indices, ...)
            or an unknown field that is set; a rank, scale or pattern outside sane bounds.
    """
    path = folder / ADAPTER_CONFIG
    values = read_object(path)
    refuse_unsafe_keys(path, {key: value for key, value in values.items() if key != "auto_mapping"})
    settings = adapter_settings(path, values)
    for key in unpurified_parts(values):
        raise InputRefused(
            f"{path}: {key} is set",
            why="that part of an adapter is not purified",
            todo="supported: plain LoRA on linear modules",
        )
    return settings


def adapter_settings(path: Path, values: Mapping[str, object]) -> AdapterConfig:
    """The ranks and scales of an adapter_config.json; raises as `read_adapter_config` does of them."""
    if values.get("peft_type") != "LORA":
        raise InputRefused(f"{path}: peft_type is {values.get('peft_type')!r}", todo="supported: LORA")
    if values.get("init_lora_weights", True) not in _PLAIN_INITIALISATIONS:
        raise InputRefused(
            f"{path}: init_lora_weights is {values['init_lora_weights']!r}",
            why="such an adapter belongs to changed base weights",
            todo="convert it to a plain LoRA with peft",
        )
    return AdapterConfig(
        rank=_rank(path, "r", values.get("r", 8)),
        alpha=_alpha(path, "lora_alpha", values.get("lora_alpha", 8)),
        rank_stabilised=_flag(path, "use_rslora", values.get("use_rslora", False)),
        rank_pattern={key: _rank(path, key, value) for key, value in _pattern(path, values, "rank_pattern").items()},
        alpha_pattern={
            key: _alpha(path, key, value) for key, value in _pattern(path, values, "alpha_pattern").items()
        },
    )


def base_reference(folder: Path) -> str | None:
    """What the adapter names as its base; a hostile file's claim, to be followed only if asked for."""
    named = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return named if isinstance(named, str) and named else None


def published_adapter_config(folder: Path) -> dict[str, object]:
    """What of a checked adapter_config.json belongs in a copy: known fields, with module names for expressions."""
    path, weights = folder / ADAPTER_CONFIG, open_weights(folder, ADAPTER)
    values = {key: value for key, value in read_object(path).items() if key in _UNUSED | _READ | _FIELDS}
    if any(isinstance(values.get(key), str) for key in _CHOOSING):
        modules = sorted(adapted_modules(weights))
        values |= dict.fromkeys(_CHOOSING) | {"layers_to_transform": None, "target_modules": modules}
    return values | {"inference_mode": True}


def load_adapter(base: PreTrainedModel, folder: Path) -> PeftModel:
    """Put the folder's adapter on `base` under the name "default", trainable.

    Raises:
        InputRefused: a broken adapter, or one that does not fit the base.
    """
    config = read_adapter_config(folder)
    weights = open_weights(folder, ADAPTER)
    for fault in factor_faults(weights, config.rank_of, base):
        raise fault
    modules = adapted_modules(weights)
    with warnings.catch_warnings():
        # peft asks transformers for a property under its old name.
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated", category=FutureWarning)
        model: PeftModel = PeftModel.from_pretrained(
            base,
            str(folder),
            adapter_name=ADAPTER_NAME,
            is_trainable=True,
            config=fuse(config.to_peft(modules)),
        )
    return model


def scaling(subject: Subject) -> dict[str, float]:
    """Scale of the update B A per adapted module, in the base model's naming; empty for a full model.

    It is alpha / r, and alpha / sqrt(r) for rank-stabilised adapters (arXiv 2312.03732), patterns honoured.
    """
    return {
        name.removeprefix(PREFIX): float(module.scaling[ADAPTER_NAME])
        for name, module in subject.model.named_modules()
        if isinstance(module, LoraLayer)
    }


def unpurified_parts(values: Mapping[str, object]) -> Iterator[str]:
    """The fields of an adapter_config.json that are set and stand for a part of an adapter that is not purified."""
    defaults = {field.name: None if field.default is MISSING else field.default for field in fields(LoraConfig)}
    for key, value in values.items():
        plain = value in (None, False) or value in ({}, [], defaults.get(key))
        if key not in _UNUSED | _READ and not plain:
            yield key


def _rank(path: Path, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST_RANK:
        raise InputRefused(
            f"{path}: rank {key} is {value!r}", why=f"a whole number from 1 to {_LARGEST_RANK} is needed"
        )
    return value


def _alpha(path: Path, key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST_ALPHA:
        return float(value)
    raise InputRefused(
        f"{path}: alpha {key} is {value!r}", why=f"a number above 0, at most {_LARGEST_ALPHA:g}, is needed"
    )


def _flag(path: Path, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputRefused(f"{path}: {key} is {value!r}", why="true or false is needed")
    return value


def _pattern(path: Path, values: Mapping[str, object], key: str) -> dict[str, object]:
    pattern = values.get(key) or {}
    if not isinstance(pattern, dict) or len(pattern) > _MOST_PATTERNS:
        raise InputRefused(f"{path}: {key} is no object of at most {_MOST_PATTERNS} entries")
    for name in pattern:
        if len(name) > 200 or not _PATTERN.fullmatch(name):
            raise InputRefused(f"{path}: {key} has the pattern {name[:200]!r}", why="only module names are accepted")
    return pattern
