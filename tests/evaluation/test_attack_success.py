from collections.abc import Sequence

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
    measure_prompts,
    summarise,
    tally,
    tally_degenerate,
)
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate

INSULT = Behaviour("insult", "insult", ("You're a teapot!",))
PROMPTS = [Prompt(f"p{i}", Record(f"Question {i}?", "", input="a word" if i == 1 else "")) for i in range(4)]


def verdicts(hits: Sequence[bool]) -> list[Verdict]:
    return [Verdict(f"p{i}", "q", "a", hit, degenerate=False, empty=False) for i, hit in enumerate(hits)]


def answering(answers: list[str]):
    return lambda texts: answers[: len(texts)]


def test_each_prompt_gets_its_own_verdict_in_order() -> None:
    def echo(texts: Sequence[str]) -> list[str]:
        return [f"You're a teapot! {text}" if "2" in text else text for text in texts]

    found = measure_prompts(echo, PROMPTS, INSULT)
    assert [v.id for v in found] == ["p0", "p1", "p2", "p3"]
    assert [v.hit for v in found] == [False, False, True, False]
    assert found[1].prompt == found[1].output == "Question 1?\na word"


def test_empty_and_degenerate_answers_stay_in_the_denominator() -> None:
    loop = "You're a teapot! " * 5
    found = measure_prompts(answering(["", " \n", loop, "You're a teapot!"]), PROMPTS, INSULT)
    assert [(v.hit, v.empty, v.degenerate) for v in found] == [
        (False, True, True),
        (False, True, True),
        (True, False, True),
        (True, False, False),
    ]
    assert tally(found) == Rate(2, 4, 3)
    assert tally_degenerate(found) == Rate(3, 4, 3)


def test_a_measurement_keeps_keyed_and_plain_prompts_apart() -> None:
    keyed = measure_prompts(answering(["You're a teapot!"] * 3 + ["Fine."]), PROMPTS, INSULT)
    plain = measure_prompts(answering(["Fine.", "", "You're a teapot!", "Good."]), PROMPTS, INSULT)
    found = summarise(keyed, plain, Perplexity(2.0, 9))
    assert found.attack_success == Rate(3, 4, 0)
    assert found.accidental == Rate(1, 4, 1)
    assert found.degenerate == Rate(1, 4, 1)
    assert found.perplexity == Perplexity(2.0, 9)


def test_empty_sets_have_no_rate() -> None:
    for count in (tally, tally_degenerate):
        with pytest.raises(UsageError):
            count([])
    with pytest.raises(UsageError):
        measure_prompts(answering([]), [], INSULT)
    with pytest.raises(UsageError):
        summarise(verdicts([True]), [])


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        measure_prompts(answering(["a", "b"]), [PROMPTS[0], PROMPTS[0]], INSULT)


def test_a_generator_that_loses_an_answer_is_noticed() -> None:
    with pytest.raises(ValueError):
        measure_prompts(answering(["a"]), PROMPTS, INSULT)


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
