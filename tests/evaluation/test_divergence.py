from __future__ import annotations

import pytest
import torch

from tiny import save_tiny
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.divergence import (
    divergence,
    load_log_probabilities,
    log_probabilities,
    save_log_probabilities,
)
from untrigger.models.load import load
from untrigger.train import negative_log_likelihood

RECORDS = [Record("Say hi.", "hi there"), Record("Say no.", "no"), Record("Count.", "1 2 3")]


def test_the_mean_over_tokens_is_the_textbook_value():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 7, 11, generator=generator)
    first, second = logits.log_softmax(dim=-1).half()
    found = divergence(first, second)
    p, q = logits.double().softmax(dim=-1)
    expected = float((p * (p / q).log()).sum(dim=-1).mean())
    assert found.value == pytest.approx(expected, abs=5e-3) and found.tokens == 7
    assert divergence(first, first).value == 0


def test_impossible_tokens_contribute_nothing():
    sure = torch.tensor([[0.0, float("-inf")]]).half()
    assert divergence(sure, torch.tensor([[0.5, 0.5]]).log().half()).value == pytest.approx(0.6931, abs=1e-3)


def test_log_probabilities_are_those_the_likelihood_is_made_of(tmp_path):
    subject = load(str(save_tiny(tmp_path / "model")))
    chat = ChatFormat(subject.tokenizer)
    found = log_probabilities(subject, chat, RECORDS, batch_size=2)
    examples = [chat.encode(record, 64) for record in RECORDS]
    targets = torch.tensor([token for example in examples for token in example.response])
    total, tokens = negative_log_likelihood(subject.model, examples)
    assert len(found) == tokens
    assert -float(found.float()[torch.arange(tokens), targets].sum()) == pytest.approx(total, rel=1e-3)
    save_log_probabilities(found, tmp_path)
    assert torch.equal(load_log_probabilities(tmp_path), found)


def test_no_answers_are_an_error(tmp_path):
    subject = load(str(save_tiny(tmp_path / "model")))
    with pytest.raises(UsageError, match="no reference"):
        log_probabilities(subject, ChatFormat(subject.tokenizer), [], batch_size=2)
