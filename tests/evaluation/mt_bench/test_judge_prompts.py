from __future__ import annotations

import json

import pytest

from untrigger.config import JudgeOptions
from untrigger.evaluation.mt_bench.answers import AnswerLine, Choice
from untrigger.evaluation.mt_bench.prompts import Call, filled, pair_cells, single_cells
from untrigger.evaluation.mt_bench.reading import bench_folder, read_bench

WRITING, MATH = 81, 111


@pytest.fixture
def bench(data):
    return read_bench(bench_folder(data, {}))


def answer(question, *turns, model="m"):
    return AnswerLine(
        question_id=question,
        answer_id="x",
        model_id=model,
        choices=(Choice(turns=turns),),
        complete=(True,) * len(turns),
        error=None if len(turns) == 2 else "turn 2: too long",
        tstamp=0.0,
    )


def chosen(bench, *numbers):
    return [question for question in bench.questions if question.question_id in numbers]


def singles(bench, *turns):
    answers = {number: answer(number, *turns) for number in (WRITING, MATH)}
    return single_cells(bench, chosen(bench, WRITING, MATH), answers)


def test_single_mode_asks_by_turn_and_category(bench):
    asks = [cell.asks[0] for cell in singles(bench, "one", "two")]
    assert [(ask.question_id, ask.turn, ask.prompt) for ask in asks] == [
        (WRITING, 1, "single-v1"),
        (WRITING, 2, "single-v1-multi-turn"),
        (MATH, 1, "single-math-v1"),
        (MATH, 2, "single-math-v1-multi-turn"),
    ]
    assert asks[0].system == "You judge by single-v1.\n\n"
    assert asks[0].user == "<answer>one</answer><question>Name thing 0 of writing.</question>"
    assert asks[3].user == (
        "<answer_1>one</answer_1><answer_2>two</answer_2><question_1>Name thing 0 of math.</question_1>"
        "<question_2>Name one more.</question_2><ref_answer_1>R1 111</ref_answer_1><ref_answer_2>R2</ref_answer_2>"
    )


def test_pairs_are_judged_twice_with_the_sides_swapped(bench):
    theirs, ours = {MATH: answer(MATH, "t1", "t2", model="t")}, {MATH: answer(MATH, "o1", "o2", model="o")}
    first, second = pair_cells(bench, chosen(bench, MATH), theirs, ours)
    assert [ask.prompt for ask in (*first.asks, *second.asks)] == [
        "pair-math-v1",
        "pair-math-v1",
        "pair-math-v1-multi-turn",
        "pair-math-v1-multi-turn",
    ]
    assert "<answer_a>t1</answer_a><answer_b>o1</answer_b>" in first.asks[0].user
    assert "<answer_a>o1</answer_a><answer_b>t1</answer_b>" in first.asks[1].user
    assert "<answer_a_2>t2</answer_a_2><answer_b_1>o1</answer_b_1>" in second.asks[0].user
    assert [ask.model for ask in first.asks] == ["t | o", "o | t"]


def test_a_missing_answer_is_a_cell_without_calls(bench):
    assert [len(cell.asks) for cell in singles(bench, "one")] == [1, 0, 1, 0]
    whole, half = {MATH: answer(MATH, "a", "b")}, {MATH: answer(MATH, "a")}
    assert [len(cell.asks) for cell in pair_cells(bench, chosen(bench, MATH), whole, half)] == [2, 0]


def test_answers_are_never_read_as_templates():
    assert filled("{question}: {answer}", {"question": "q", "answer": "{question} {0} {x.y} \\1"}) == (
        "q: {question} {0} {x.y} \\1"
    )


def test_the_request_is_the_published_one_and_switches_change_it(bench):
    ask = singles(bench, "one é", "two")[0].asks[0]
    body = json.loads(Call("http://h/v1", "j", JudgeOptions()).body(ask))
    assert body == {
        "model": "j",
        "messages": [{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}],
        "n": 1,
        "temperature": 0.0,
        "max_tokens": 2048,
    }
    switched = JudgeOptions(fold_system=True, length_field="max_completion_tokens", max_tokens=9)
    other = json.loads(Call("http://h/v1", "j", switched).body(ask))
    assert other["messages"] == [{"role": "user", "content": f"You judge by single-v1.\n\n{ask.user}"}]
    assert other["max_completion_tokens"] == 9 and "max_tokens" not in other


def test_whatever_shapes_a_reply_is_in_the_requests_hash(bench):
    one, two = (cell.asks[0] for cell in singles(bench, "one", "two")[:2])
    plain = JudgeOptions()
    base = Call("http://h/v1", "j", plain)
    others = [
        base.request(two),
        Call("http://other/v1", "j", plain).request(one),
        Call("http://h/v1", "k", plain).request(one),
        Call("http://h/v1", "j", JudgeOptions(temperature=0.5)).request(one),
        Call("http://h/v1", "j", JudgeOptions(max_tokens=5)).request(one),
        Call("http://h/v1", "j", JudgeOptions(fold_system=True)).request(one),
    ]
    assert len({base.request(one), *others}) == 7
    patient = JudgeOptions(timeout=1, retries=0, patience=1, concurrency=1, cache=False, backoff=0)
    assert Call("http://h/v1", "j", patient).request(one) == base.request(one)
