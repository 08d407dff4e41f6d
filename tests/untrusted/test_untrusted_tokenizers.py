"""Tokenizers that are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile import edit
from untrigger.models.load import load

TOKENIZER = "tokenizer.json"


def split_by(model: Path, expression: str) -> None:
    splitter = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    edit(model / TOKENIZER, pre_tokenizer=splitter)


@pytest.mark.parametrize("expression", [r"\s+|\w+", r"\p{N}{1,3}", "a|b"])
def test_expressions_that_are_quick_are_accepted(model: Path, expression: str) -> None:
    split_by(model, expression)
    load(str(model))
