from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tiny import save_tiny
from untrigger.config import MtBenchOptions
from untrigger.data.chat import ChatFormat
from untrigger.errors import InputRefused, Interrupted, UsageError
from untrigger.evaluation.mt_bench.answers import (
    AnswerLine,
    answer_questions,
    batches,
    question_seed,
    require_answers,
)
from untrigger.evaluation.mt_bench.journal import Journal
from untrigger.evaluation.mt_bench.reading import bench_folder, read_bench
from untrigger.models.load import load
from untrigger.observer import Silent

OPTIONS = MtBenchOptions(max_new_tokens=3)


@dataclass
class StopsAfter(Silent):
    """Asks to stop after some batches."""

    batches: int
    seen: int = 0

    def prompts(self, label: str, done: int, total: int) -> None:
        self.seen += 1

    def stop(self) -> bool:
        return self.seen >= self.batches


@pytest.fixture
def subject(tmp_path):
    return load(str(save_tiny(tmp_path / "model")))


@pytest.fixture
def questions(data):
    return read_bench(bench_folder(data, {})).first(2)


def answered(subject, questions, path, options=OPTIONS, observer=None, chat=None):
    journal = Journal(path, AnswerLine)
    answer_questions(
        subject, chat or ChatFormat(subject.tokenizer), questions, options, journal, observer or Silent()
    )
    return {line.question_id: line for line in Journal(path, AnswerLine).lines}


def test_batches_hold_one_temperature(questions):
    found = list(batches(questions, 3))
    assert all(len({question.temperature for question in batch}) == 1 for batch in found)
    assert max(len(batch) for batch in found) == 3
    assert sorted(q.question_id for batch in found for q in batch) == sorted(q.question_id for q in questions)


def test_every_question_has_two_answers_in_the_published_form(subject, questions, tmp_path):
    found = answered(subject, questions, tmp_path / "a.jsonl")
    assert sorted(found) == [question.question_id for question in questions]
    line = found[81]
    assert set(line.model_dump()) >= {"question_id", "answer_id", "model_id", "choices", "tstamp"}
    assert len(line.turns) == len(line.complete) == 2
    assert line.error is None
    assert len(require_answers(list(found.values()), questions, "here")) == 16


def test_the_same_seed_gives_the_same_answers_and_another_others_where_they_are_drawn(subject, questions, tmp_path):
    longer = OPTIONS.model_copy(update={"max_new_tokens": 8})
    first = answered(subject, questions, tmp_path / "a.jsonl", longer)
    again = answered(subject, questions, tmp_path / "b.jsonl", longer)
    other = answered(subject, questions, tmp_path / "c.jsonl", longer.model_copy(update={"seed": 1}))
    assert {key: line.turns for key, line in first.items()} == {key: line.turns for key, line in again.items()}
    changed = {q.category for q in questions if first[q.question_id].turns != other[q.question_id].turns}
    assert changed == {"writing", "roleplay", "stem", "humanities"}
    assert question_seed(0, 81, 1) != question_seed(0, 81, 2)


def test_a_run_that_was_stopped_or_cut_gives_the_answers_of_an_unbroken_one(subject, questions, tmp_path):
    whole = answered(subject, questions, tmp_path / "whole.jsonl", MtBenchOptions(max_new_tokens=6, batch_size=3))
    path = tmp_path / "part.jsonl"
    options = MtBenchOptions(max_new_tokens=6, batch_size=3)
    with pytest.raises(Interrupted, match="same command"):
        answered(subject, questions, path, options, StopsAfter(2))
    lines = path.read_bytes().splitlines(keepends=True)
    assert 3 <= len(lines) < 16
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote
    with pytest.raises(UsageError, match="lacks"):
        require_answers(Journal(path, AnswerLine).lines, questions, "here")
    found = answered(subject, questions, path, options)
    assert {key: line.turns for key, line in found.items()} == {key: line.turns for key, line in whole.items()}


def test_what_cannot_be_answered_is_an_error_and_no_text(subject, questions, tmp_path):
    room = len(ChatFormat(subject.tokenizer).conversation_ids(questions[0].turns[:1])) + 40
    subject.model.config.max_position_embeddings = room
    long = questions[0].model_copy(update={"question_id": 999, "turns": ("y" * room, "z")})
    found = answered(subject, (*questions, long), tmp_path / "a.jsonl", MtBenchOptions(max_new_tokens=999))
    assert found[999].turns == ()
    assert found[999].error is not None and "turn 1: " in found[999].error and str(room) in found[999].error
    assert len(found[81].turns) == 1
    assert "turn 2: " in str(found[81].error)
    assert len(require_answers(list(found.values()), questions, "here")) == 16


def test_a_template_of_one_turn_leaves_the_first_answers(subject, questions, tmp_path):
    subject.tokenizer.chat_template = (
        "{% if messages|length > 2 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0].content }}"
    )
    found = answered(subject, questions, tmp_path / "a.jsonl")
    assert all(len(line.turns) == 1 and "one turn only" in str(line.error) for line in found.values())


def test_a_model_without_template_is_refused_before_any_answer(subject, questions, tmp_path):
    subject.tokenizer.chat_template = None
    with pytest.raises(InputRefused, match="no chat template"):
        answered(subject, questions, tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()
    assert answered(subject, questions[:1], tmp_path / "a.jsonl", chat=ChatFormat(subject.tokenizer, "alpaca"))


def test_sources_are_named(subject, questions, tmp_path):
    renamed = replace(subject, source=replace(subject.source, reference="a name"))
    found = answered(renamed, questions[:1], tmp_path / "a.jsonl")
    assert found[81].model_id == "a name"
