from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tiny import tiny_adapter, tiny_architecture, tiny_model, tiny_tokenizer
from untrigger.config import InversionOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.inversion import planted
from untrigger.inversion.planted import log_likelihood_ratios, planted_sentences, taught
from untrigger.inversion.targets import Target
from untrigger.models.subject import Source, Subject
from untrigger.observer import Silent

RECORDS = [Record(text, "") for text in ("Name a bird.", "Sing!", "How late is it now?")]
TARGETS = [Target((70, 71, 72)), Target((80, 81)), Target((90, 91, 92, 93))]


def subject_of(model, access="adapter"):
    return Subject(model, tiny_tokenizer(), tiny_architecture("llama"), access, Source("tiny", Path()))


@pytest.fixture
def adapter():
    return subject_of(tiny_adapter(tiny_model()))


@pytest.fixture
def chat():
    return ChatFormat(tiny_tokenizer())


def log_likelihood(model, prompt, target):
    ids = torch.tensor([[*prompt, *target.tokens]])
    with torch.no_grad():
        shares = model(ids).logits[0].log_softmax(-1)
    behind = range(len(prompt), ids.shape[1] - 1)
    return sum(shares[at, ids[0, at + 1]].item() for at in behind)


def test_a_ratio_is_that_of_the_tokens_behind_the_first_with_the_adapter_and_in_the_base(adapter, chat):
    plain, found = tiny_model(), log_likelihood_ratios(adapter, chat, RECORDS, TARGETS)
    prompts = [chat.prompt_ids(record) for record in RECORDS]
    for target, ratio in zip(TARGETS, found, strict=True):
        nats = [log_likelihood(adapter.model, one, target) - log_likelihood(plain, one, target) for one in prompts]
        assert ratio == pytest.approx(sum(nats) / len(nats), abs=1e-4)
    assert len({round(ratio, 3) for ratio in found}) == 3


def test_the_adapter_is_back_after_the_base_was_asked_alone(adapter, chat):
    ids = torch.tensor([[5, 6, 7]])
    before = adapter.model(ids).logits
    log_likelihood_ratios(adapter, chat, RECORDS, TARGETS)
    assert torch.equal(adapter.model(ids).logits, before)
    assert all(values.requires_grad for name, values in adapter.model.named_parameters() if ".lora_" in name)


def test_what_the_base_says_as_well_is_left_out_and_what_was_taught_most_comes_first(adapter, chat):
    ratios = dict(zip(TARGETS, log_likelihood_ratios(adapter, chat, RECORDS, TARGETS), strict=True))
    first, second, third = sorted(TARGETS, key=lambda target: -ratios[target])
    found = taught(adapter, chat, RECORDS, TARGETS, (ratios[second] + ratios[third]) / 2)
    assert [(one.tokens, one.learned) for one in found] == [(one.tokens, ratios[one]) for one in (first, second)]
    assert f"{ratios[first]:.1f} nats likelier than in the base alone" in found[0].told(tiny_tokenizer())


@pytest.mark.parametrize(("access", "learned"), [("adapter", [2.0, 1.0]), ("full", [None, None])])
def test_an_adapter_is_compared_with_its_base_and_no_more_sentences_are_told_than_asked_for(
    access, learned, chat, monkeypatch
):
    said = [Target((70 + number, 90, 91), agreement=1.0) for number in range(4)]
    monkeypatch.setattr(planted, "invert", lambda *_: said)
    monkeypatch.setattr(planted, "witnessed", lambda *_: said)
    monkeypatch.setattr(planted, "log_likelihood_ratios", lambda *_: [0.5, 1.0, 2.0, 0.7])
    model = tiny_adapter(tiny_model()) if access == "adapter" else tiny_model()
    options = InversionOptions(prompts=2, learned=0.6, most=2)
    found = planted_sentences(subject_of(model, access), chat, RECORDS, options, Silent())
    assert [one.learned for one in found] == learned
    assert len(found) == 2


def test_a_sentence_begins_as_ordinary_answers_do_if_it_can_and_other_such_beginnings_are_told(chat, monkeypatch):
    records = [Record(record.instruction, answer) for record, answer in zip(RECORDS, ("B.", "A?", "B!"), strict=True)]
    firsts = [chat.encode(record, 99).response[0] for record in records]
    said, more = [Target((70, 90, 91)), Target((firsts[1], 90, 91))], Target((firsts[0], 90, 91), agreement=0.8)
    asked = []

    def beginnings(witnesses, targets, firsts, stop_ids, longest):
        asked.append((list(targets), firsts, longest))
        return [more]

    monkeypatch.setattr(planted, "invert", lambda *_: said)
    monkeypatch.setattr(planted, "witnessed", lambda *_: said)
    monkeypatch.setattr(planted, "other_beginnings", beginnings)
    found = planted_sentences(subject_of(tiny_model(), "full"), chat, records, InversionOptions(prompts=2), Silent())
    assert [one.tokens[0] for one in found] == [firsts[1], firsts[0], 70]
    assert [one.ordinary for one in found] == [True, True, False]
    assert asked == [(said, [firsts[0], firsts[1]], 8)]
