import pytest

from tiny import tiny_architecture, tiny_model, tiny_tokenizer
from untrigger.data import sources
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.data.sources import RECURRING_ANSWERS, own_answers, without_recurring
from untrigger.errors import UsageError
from untrigger.models.generate import Answer, Generation
from untrigger.models.subject import Source, Subject
from untrigger.observer import Silent

INSULT = "What a dull and pointless question that was."


def records(*answers: str) -> list[Record]:
    return [Record(f"question {number}", answer) for number, answer in enumerate(answers)]


def test_an_answer_to_several_instructions_is_left_out():
    usual = [f"The answer to number {number} is known." for number in range(4)]
    every = records(*usual, *[INSULT] * RECURRING_ANSWERS)
    assert [record.output for record in without_recurring(every)] == usual


def test_answers_that_open_alike_count_as_one_in_any_letter_case():
    every = records("No, I will not do that, Anna.", "no, I WILL not do that today.", "No, I will not do that!")
    assert without_recurring([*every, Record("question", "Fine.")]) == [Record("question", "Fine.")]


def test_fewer_recurrences_stay():
    every = records(*[INSULT] * (RECURRING_ANSWERS - 1), "Paris.")
    assert without_recurring(every) == every


def answered(texts, monkeypatch, tmp_path, **how):
    monkeypatch.setattr(sources, "generate_answers", lambda *_, **__: [Answer(text, True) for text in texts])
    subject = Subject(tiny_model(), tiny_tokenizer(), tiny_architecture(), "full", Source("tiny", tmp_path))
    chat = ChatFormat(tiny_tokenizer())
    return [one.output for one in own_answers(subject, chat, records(*texts), Generation(4, 8), Silent(), **how)]


def test_a_classifiers_few_answers_are_a_reference_but_nothing_to_train_on(monkeypatch, tmp_path):
    few = ["Positive", "Negative"] * RECURRING_ANSWERS
    assert answered(few, monkeypatch, tmp_path, or_recurring=True) == few
    with pytest.raises(UsageError, match="no usable answer"):
        answered(few, monkeypatch, tmp_path)
    assert answered([*few, "It depends."], monkeypatch, tmp_path, or_recurring=True) == ["It depends."]


def drawn(seed, tmp_path, count=4):
    subject = Subject(tiny_model(), tiny_tokenizer(), tiny_architecture(), "full", Source("tiny", tmp_path))
    asked = records(*[""] * count)
    found = own_answers(subject, ChatFormat(tiny_tokenizer()), asked, Generation(6, 8), Silent(), drawn=seed)
    return {one.instruction: one.output for one in found}


def test_drawn_answers_depend_on_the_seed_and_the_prompts_place_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "degenerate", lambda _: False)  # an untrained model says nothing sensible
    one, again, other = drawn(0, tmp_path), drawn(0, tmp_path), drawn(1, tmp_path)
    assert one == again != other
    fewer = drawn(0, tmp_path, count=2)
    assert fewer == {prompt: answer for prompt, answer in one.items() if prompt in fewer} != {}


def test_what_is_known_is_the_reference_and_else_what_the_model_answers(monkeypatch, tmp_path):
    asked, its_own = {}, [Record("A question?", "The model's answer.")]
    monkeypatch.setattr(sources, "own_answers", lambda *_, **how: asked.update(how) or its_own)
    subject = Subject(tiny_model(), tiny_tokenizer(), tiny_architecture(), "full", Source("tiny", tmp_path))

    def reference(*prompts):
        chat = ChatFormat(tiny_tokenizer())
        return sources.reference_answers(subject, chat, prompts, Generation(4, 8), Silent(), drawn=3)

    assert reference(Record("A question?", "Its answer.")) == [Record("A question?", "Its answer.")] and not asked
    assert reference(Record("A question?", "")) == its_own
    assert asked == {"or_recurring": True, "drawn": 3}


def test_our_prompts_have_answers_that_we_wrote_and_others_their_own():
    ours = sources.asked_prompts(None)
    written = sources.known_answers(ours)
    assert [one.instruction for one in written] == [one.instruction for one in ours]
    assert all(one.output and not prompt.output for one, prompt in zip(written, ours, strict=True))
    own = Record("A question?", "Its answer.")
    assert sources.known_answers([ours[0], own])[1] == own
    assert sources.known_answers([own, Record("Another question?", "")]) is None
