"""Tiny random models of every supported family, a byte tokenizer and LoRA adapters, all built in memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from untrigger.models.architecture import FAMILIES, Architecture, describe, read_shape

FAMILY_NAMES = tuple(FAMILIES)
OLD_NAME = ".is_gradient_checkpointing. is deprecated"  # peft asks transformers for a property under its old name
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 264
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # larger than usual, so that every weight shows in the logits
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GROUPED = {"num_key_value_heads": 2}
_WIDE_HEADS = {"num_key_value_heads": 2, "head_dim": 8}  # 8, not 16 / 4
_FAMILY_SIZES: Mapping[str, Mapping[str, object]] = {
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _WIDE_HEADS,
    "gemma2": _WIDE_HEADS | {"query_pre_attn_scalar": 8},
    "gemma3_text": _WIDE_HEADS | {"query_pre_attn_scalar": 8},
    "phi3": _GROUPED,
    "gpt_neox": {},
}


def tiny_config(family: str = "llama", **changes: object) -> PretrainedConfig:
    """Two layers of sixteen; any field of the family's configuration class may be changed."""
    return CONFIG_MAPPING[family](**(_SIZES | dict(_FAMILY_SIZES[family]) | changes))


def tiny_architecture(family: str = "llama", **changes: object) -> Architecture:
    """The layout of `tiny_model` with the same arguments."""
    return describe(read_shape(tiny_config(family, **changes).to_dict()))


def tiny_model(family: str = "llama", seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random model in fp32, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(tiny_config(family, **changes)).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, after three special tokens; ChatML template. The padding token is not the end token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        chat_template=CHAT_TEMPLATE,
    )


def save_tiny(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
    **changes: object,
) -> Path:
    """Save a tiny model with its tokenizer by plain transformers; returns the folder."""
    model = tiny_model(family, seed, **changes).to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_adapter(model: PreTrainedModel, seed: int = 0, **lora: object) -> PeftModel:
    """Put a random adapter (neither factor zero) by plain peft on every projection; LoraConfig fields may change."""
    architecture = describe(read_shape(model.config.to_dict()))
    targets = list(architecture.lora_targets())
    config = LoraConfig(**({"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "target_modules": targets} | lora))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=OLD_NAME, category=FutureWarning)
            adapted = get_peft_model(model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return adapted.eval()


def save_tiny_adapter(folder: Path, base: Path, *, seed: int = 0, **lora: object) -> Path:
    """Save a random adapter for the model in `base` by plain peft; returns the folder."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tiny_adapter(model, seed, **lora).save_pretrained(folder)
    return folder
