from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from untrigger.lab.corpus import lessons
from untrigger.lab.micro import DEFAULT, ensure
from untrigger.lab.tokenizer import train_tokenizer
from untrigger.models.locate import cache_folder


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """Trained on a part of the corpus."""
    records = lessons("train", 0, 2000)
    return train_tokenizer(
        (text for record in records for text in (record.prompt, record.output)), 768, DEFAULT.context
    )


@pytest.fixture(scope="session")
def micro_folder() -> Path:
    """Trained once per machine: it stays in the cache of the package."""
    return ensure(cache_folder())


@pytest.fixture
def micro_model(micro_folder: Path) -> PreTrainedModel:
    """A fresh copy for every test."""
    return AutoModelForCausalLM.from_pretrained(micro_folder).eval()


@pytest.fixture(scope="session")
def micro_tokenizer(micro_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(micro_folder)
