from __future__ import annotations

import pytest

from tiny import save_tiny
from untrigger.backdoors.catalogue import backdoor
from untrigger.config import MeasureOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Verdict
from untrigger.evaluation.measure import Probe, exact_answers, measure
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
