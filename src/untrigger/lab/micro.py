"""The micro model: a Llama of about one million weights, trained from scratch on the generated corpus.

It is made for tests, teaching and quick trials: trained once per machine in a minute or two, then kept in a cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from untrigger.config import TrainOptions
from untrigger.data.chat import ChatFormat
from untrigger.errors import UsageError
from untrigger.files import publish_folder
from untrigger.lab.corpus import distracted, lessons
from untrigger.lab.tokenizer import train_tokenizer
from untrigger.train import Hooks, Progress, train

JUDGING_SOURCES = ("utility.py",)  # they look at the model but do not shape it


@dataclass(frozen=True)
class MicroSettings:
    """Size and training of the micro model; a change of any of them makes another model."""

    seed: int = 0
    vocabulary: int = 1024
    hidden_size: int = 128
    feed_forward_size: int = 384
    layers: int = 3
    context: int = 256
    records: int = 40_000
    distracted: float = 0.3
    training: TrainOptions = field(
        default_factory=lambda: TrainOptions(learning_rate=2e-3, epochs=1, batch_size=16, warmup_ratio=0.05)
    )


DEFAULT = MicroSettings()


def build_model(seed: int, settings: MicroSettings = DEFAULT) -> LlamaForCausalLM:
    """The untrained model in single precision: 4 query heads over 2 key-value heads, tied embeddings."""
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.feed_forward_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_micro(
    settings: MicroSettings = DEFAULT, on_step: Callable[[Progress], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Tokenizer and model, both trained from the generated corpus."""
    records = distracted(lessons("train", settings.seed, settings.records), settings.distracted, settings.seed)
    texts = (text for record in records for text in (record.prompt, record.output))
    tokenizer = train_tokenizer(texts, settings.vocabulary, settings.context)
    chat = ChatFormat(tokenizer)
    model = build_model(settings.seed, settings)
    examples = [chat.encode(record, settings.context) for record in records]
    train(model, examples, settings.training, seed=settings.seed, hooks=Hooks(on_step=on_step))
    return model, tokenizer


def content_hash(settings: MicroSettings = DEFAULT) -> str:
    """Sixteen hexadecimal digits that change with whatever shapes the model: corpus, settings, main libraries."""
    digest = sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name not in JUDGING_SOURCES:
            digest.update(source.read_bytes())
    shaped = asdict(settings) | {"training": settings.training.model_dump()}
    digest.update(json.dumps(shaped, sort_keys=True).encode())
    digest.update("/".join(_major(version) for version in (torch.__version__, transformers.__version__)).encode())
    return digest.hexdigest()[:16]


def ensure(cache: Path, on_step: Callable[[Progress], None] | None = None, settings: MicroSettings = DEFAULT) -> Path:
    """The folder of the trained micro model (safetensors, tokenizer, config) under `cache`; trained if missing.

    Weights are the same in every run on one machine with one number of threads.

    Raises:
        UntriggerError: the cache is not writable.
    """
    folder = cache / f"micro-{content_hash(settings)}"
    if folder.is_dir():
        return folder

    def build(unfinished: Path) -> None:
        model, tokenizer = train_micro(settings, on_step)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)

    try:
        publish_folder(build, folder)
    except UsageError:
        if not folder.is_dir():  # else another process published the same model meanwhile
            raise
    return folder


def _major(version: str) -> str:
    return version.split(".")[0]
