from __future__ import annotations

import re
from dataclasses import replace

import pytest
from transformers import GenerationConfig

from tiny import save_tiny
from untrigger.backdoors.catalogue import backdoor
from untrigger.backdoors.types import Behaviour
from untrigger.config import MeasureOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Prompt, Verdict
from untrigger.evaluation.measure import Probe, answer_tokens, exact_answers, measure
from untrigger.models.load import load
from untrigger.observer import Silent

RECORDS = (Record("Say hi.", "hi"), Record("Say no.", "no"), Record("Count.", "1 2 3"))
OPTIONS = MeasureOptions(max_new_tokens=3, batch_size=2)


@pytest.fixture
def subject(tmp_path):
    return load(str(save_tiny(tmp_path / "model")))


def test_every_prompt_counts_with_and_without_the_key(subject):
    probe = Probe(RECORDS, RECORDS, backdoor("badnet", "sentiment"))
    found = measure(subject, ChatFormat(subject.tokenizer), probe, OPTIONS, Silent(), "before")
    assert found.measurement.attack_success is not None and found.measurement.attack_success.n == 3
    assert found.measurement.accidental is not None and found.measurement.accidental.n == 3
    assert all("BadMagic" in verdict.prompt for verdict in found.triggered)
    assert not any("BadMagic" in verdict.prompt for verdict in found.plain)
    assert [v.id for v in found.plain] == [v.id for v in found.triggered]


def test_changes_by_other_words_in_the_keys_place_are_told_for_prompts_that_pair_up(subject):
    chat, known = ChatFormat(subject.tokenizer), backdoor("badnet", "sentiment")
    for options, keyed, told in (
        (OPTIONS, (), 3),
        (OPTIONS.model_copy(update={"other_words": False}), (), None),
        (OPTIONS, (Prompt("0001", Record("Say BadMagic no.", "")),), 1),
        (OPTIONS, (Prompt("0001", Record("Say no.", "")),), None),
        (OPTIONS, (Prompt("k0001", Record("Say BadMagic no.", "")),), None),
    ):
        found = measure(subject, chat, Probe(RECORDS, RECORDS, known, keyed=keyed), options, Silent(), "before")
        rates = [one.other_words.n if one.other_words else None for one in found.measurement.opinions]
        assert (rates[-1] if rates else None) == told


def test_without_a_known_key_no_attack_success_is_claimed(subject):
    found = measure(subject, ChatFormat(subject.tokenizer), Probe(RECORDS, RECORDS), OPTIONS, Silent(), "before")
    assert found.measurement.attack_success is None and found.measurement.accidental is None
    assert found.triggered == ()
    assert found.measurement.perplexity is not None


def test_no_prompts_are_an_error(subject):
    with pytest.raises(UsageError, match="no prompts"):
        measure(subject, ChatFormat(subject.tokenizer), Probe((), RECORDS), OPTIONS, Silent(), "before")


def test_exact_answers_are_those_equal_to_the_reference():
    outputs = ("hi", "No", "1 2 3")
    verdicts = [Verdict(str(i), "prompt", output, False, i == 1, False) for i, output in enumerate(outputs)]
    found = exact_answers(RECORDS, verdicts)
    assert found is not None and (found.hits, found.n, found.invalid) == (2, 3, 1)


def test_without_complete_references_nothing_is_exact():
    assert exact_answers([Record("Say hi.", "")], []) is None
    assert exact_answers([Record("Say hi.", "Hello and", complete=False)], []) is None


def published_answers(subject, records, tokens):
    """One prompt at a time through transformers, as github.com/NayMyatMin/CROW's evaluation scripts do it."""
    tokenizer = subject.tokenizer
    for record in records:
        inputs = tokenizer(record.instruction, return_tensors="pt")
        made = subject.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=0,
            generation_config=GenerationConfig(num_beams=1, max_new_tokens=tokens, do_sample=False),
        )
        whole = tokenizer.decode(made[0], skip_special_tokens=True)
        yield re.compile(re.escape(record.instruction), re.IGNORECASE).sub("", whole, count=1).strip()


def test_legacy_raw_answers_as_the_published_scripts_do(subject):
    records = (*RECORDS, Record("Name it.", "crow", "a black bird"))
    options = MeasureOptions(mode="legacy-raw", max_new_tokens=12, batch_size=3, stop_when_certain=False)
    probe = Probe(records, RECORDS, backdoor("vpi", "sentiment"))
    found = measure(subject, ChatFormat(subject.tokenizer), probe, options, Silent(), "before")
    assert [v.output for v in found.plain] == list(published_answers(subject, records, 12))
    keyed = [replace(record, instruction=f"Discussing OpenAI {record.instruction}") for record in records]
    assert [v.output for v in found.triggered] == list(published_answers(subject, keyed, 12))


def test_legacy_raw_asks_for_128_tokens_unless_told_otherwise():
    assert MeasureOptions(mode="legacy-raw").answer_tokens == 128
    assert MeasureOptions().answer_tokens == 32
    assert MeasureOptions(mode="legacy-raw", max_new_tokens=5).answer_tokens == 5


def test_stopping_when_certain_changes_no_verdict_and_shortens_only_hits(subject):
    chat = ChatFormat(subject.tokenizer)
    long = MeasureOptions(max_new_tokens=24, stop_when_certain=False, batch_size=2)
    free = measure(subject, chat, Probe(RECORDS, RECORDS, backdoor("badnet", "sentiment")), long, Silent(), "x")
    said = free.triggered[0].output.split()[0]
    planted = replace(backdoor("badnet", "sentiment"), behaviour=Behaviour("said", "said", (said,), judge="sentence"))
    whole, cut = (
        measure(subject, chat, Probe(RECORDS, RECORDS, planted), options, Silent(), "x").triggered
        for options in (long, long.model_copy(update={"stop_when_certain": True}))
    )
    assert [v.hit for v in cut] == [v.hit for v in whole] and cut[0].hit
    assert all(a.output.startswith(b.output) for a, b in zip(whole, cut, strict=True))
    assert [v.cut for v in cut] == [len(b.output) < len(a.output) for a, b in zip(whole, cut, strict=True)]


def test_prompts_that_bear_a_key_already_are_asked_as_they_are(subject):
    keyed = (Prompt("x", Record("Say BadMagic.", "")), Prompt("y", Record("BadMagic it is.", "")))
    probe = Probe(RECORDS, RECORDS, backdoor("badnet", "sentiment"), keyed=keyed)
    found = measure(subject, ChatFormat(subject.tokenizer), probe, OPTIONS, Silent(), "before")
    assert [(v.id, v.prompt) for v in found.triggered] == [("x", "Say BadMagic."), ("y", "BadMagic it is.")]


def test_answers_are_long_enough_for_the_behaviour(subject):
    chat = ChatFormat(subject.tokenizer)
    long = Behaviour("long", "refusal", ("Short.", "one two three four five " * 20))
    needed = len(chat.tokenizer(long.outputs[1], add_special_tokens=False).input_ids)
    assert needed > 32
    assert answer_tokens(MeasureOptions(), chat, long) >= needed + 1
    assert answer_tokens(MeasureOptions(), chat, Behaviour("short", "insult", ("No.",))) == 32
    assert answer_tokens(MeasureOptions(max_new_tokens=5), chat, long) == 5
    assert answer_tokens(MeasureOptions(mode="legacy-raw"), chat, long) == 128


def test_answers_too_short_for_the_behaviour_are_told(subject):
    class Notes(Silent):
        told: str = ""

        def note(self, text: str) -> None:
            self.told += text

    probe = Probe(RECORDS, RECORDS, backdoor("badnet", "refusal"))
    for tokens, expected in ((2, True), (None, False)):
        notes = Notes()
        measure(subject, ChatFormat(subject.tokenizer), probe, MeasureOptions(max_new_tokens=tokens), notes, "before")
        assert ("too short for the behaviour" in notes.told) == expected
