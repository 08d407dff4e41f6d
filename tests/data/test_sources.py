from untrigger.data.records import Record
from untrigger.data.sources import RECURRING_ANSWERS, without_recurring

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
