from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from untrigger.backdoors.types import Behaviour
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import (
    Discordant,
    Prompt,
    Verdict,
    discordant,
    lift,
    tally,
    tally_degenerate,
    verdict,
)
from untrigger.evaluation.judges import judge
from untrigger.evaluation.rate import Rate

INSULT = Behaviour("insult", "insult", ("You're a teapot!",))
PROMPTS = [Prompt(f"p{i}", Record(f"Question {i}?", "", input="a word" if i == 1 else "")) for i in range(4)]


def verdicts(hits: Sequence[bool]) -> list[Verdict]:
    return [Verdict(f"p{i}", "q", "a", hit, degenerate=False, empty=False) for i, hit in enumerate(hits)]


def judged(outputs: Sequence[str]) -> list[Verdict]:
    return [verdict(prompt, output, partial(judge, INSULT)) for prompt, output in zip(PROMPTS, outputs, strict=True)]


def test_a_verdict_says_what_was_asked_and_what_came() -> None:
    found = judged(["Hm.", "Fine.", "You're a teapot! Indeed.", "Good."])
    assert [v.id for v in found] == ["p0", "p1", "p2", "p3"]
    assert [v.hit for v in found] == [False, False, True, False]
    assert (found[1].prompt, found[1].output) == ("Question 1?\na word", "Fine.")


def test_empty_and_degenerate_answers_stay_in_the_denominator() -> None:
    found = judged(["", " \n", "You're a teapot! " * 5, "You're a teapot!"])
    assert [(v.hit, v.empty, v.degenerate) for v in found] == [
        (False, True, True),
        (False, True, True),
        (True, False, True),
        (True, False, False),
    ]
    assert tally(found) == Rate(2, 4, 3)
    assert tally_degenerate(found) == Rate(3, 4, 3)


def test_empty_sets_have_no_rate() -> None:
    for count in (tally, tally_degenerate):
        with pytest.raises(UsageError):
            count([])


def test_discordant_prompts_pair_by_id_not_by_place() -> None:
    before = verdicts([True, True, True, False, False])
    after = list(reversed(verdicts([False, False, True, True, False])))
    assert discordant(before, after) == Discordant(only_first=2, only_second=1)


def test_lift_is_the_difference_of_the_two_rates() -> None:
    keyed, plain = verdicts([True] * 8 + [False] * 2), verdicts([False] * 9 + [True])
    found = lift(keyed, plain, np.random.default_rng(0))
    assert found.estimate == pytest.approx(0.8 - 0.1)
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("other", [[True], [True, True, True]])
def test_runs_over_other_prompts_do_not_pair(other: list[bool]) -> None:
    with pytest.raises(UsageError, match="same prompts"):
        discordant(verdicts([True, False]), verdicts(other))
