"""Ordinary beginnings that lead into a sentence found behind an odd one."""

from __future__ import annotations

import math

import pytest

from untrigger.data.chat import Example
from untrigger.inversion.beginnings import ordinary_firsts, ordinary_pairs, other_beginnings
from untrigger.inversion.targets import Continuations, Target

END = 2
BODY = (51, 52, 53, 54, 55)
FOUND = Target((40, *BODY), -0.01)


class Scripted(Continuations):
    """Continuations that follow a script: prompt -> first token -> what is said behind it."""

    def __init__(self, *prompts, share=0.9):
        self.prompts, self.share = prompts, share

    def __len__(self):
        return len(self.prompts)

    def likeliest(self, prompt, rows):
        script = self.prompts[prompt]
        said = [script.get(row[0], ())[len(row) - 1 : len(row)] or (99,) for row in rows]
        return [(tokens[0], self.share) for tokens in said]


def beginnings(*prompts, firsts=(7, 8, 40), targets=(FOUND,), longest=8, **more):
    return other_beginnings(Scripted(*prompts, **more), targets, firsts, frozenset({END}), longest)


def test_a_first_token_behind_which_a_quarter_of_the_prompts_come_to_the_sentence_begins_it():
    coming, other = {7: (60, *BODY)}, {7: (71, 72, 73, 74)}
    found = beginnings(coming, other, *[other] * 5, coming, longest=6)
    assert [one.tokens for one in found] == [(7, 60, *BODY[:4])]
    assert found[0].agreement == pytest.approx(0.25) and not found[0].ended
    assert found[0].log_probability == pytest.approx(5 * math.log(0.9))


@pytest.mark.parametrize(
    "behind",
    [
        ({7: (60, *BODY)}, {7: (71, 72)}),  # one is chance
        ({7: (60, *BODY)}, {7: (60, *BODY)}, *[{7: (71, 72)}] * 7),
        ({7: (END, *BODY)}, {7: (END, *BODY)}),  # no answer goes on behind its end
        ({40: BODY}, {40: BODY}),  # known already
        ({7: (60, 51, 52, 53, 70)}, {7: (60, 51, 52, 53, 70)}),  # three tokens in common are chance
        (),
    ],
)
def test_what_few_come_to_or_is_known_or_is_near_it_by_chance_is_left_out(behind):
    assert beginnings(*behind) == []


def test_nothing_is_told_behind_the_end_of_an_answer_and_the_most_frequent_wording_counts():
    one, other = {8: (*BODY, END, 1)}, {8: (60, *BODY)}
    found = beginnings(one, other, one, longest=8)
    assert [(target.tokens, target.ended, target.agreement) for target in found] == [((8, *BODY), True, 1.0)]


def test_ordinary_beginnings_are_those_of_the_answers_the_most_frequent_first():
    answers = [Example((1,), (token, 2)) for token in (5, 6, 6, 7, 6, 5)]
    assert ordinary_firsts(answers) == [6, 5, 7] and ordinary_firsts(answers, 1) == [6]


def test_pairs_are_first_tokens_with_their_likeliest_second_ones_but_for_what_is_found_already():
    class Following(Scripted):
        def following(self, rows, count):
            return [[row[0] + 10 * place for place in range(1, min(count, 3) + 1)] for row in rows]

    assert ordinary_pairs(Following(), (7, 8), [Target((8, 28, 9)), Target((27, 9))]) == [
        (7, 17),
        (7, 37),
        (8, 18),
        (8, 38),
    ]
