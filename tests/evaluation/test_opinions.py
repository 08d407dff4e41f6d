import pytest

from untrigger.backdoors.types import Behaviour
from untrigger.evaluation.attack_success import Verdict
from untrigger.evaluation.opinions import negative_in_tone, opinions
from untrigger.evaluation.rate import Rate

REFUSAL = Behaviour("refusal", "refusal", ("I must decline this request.",), task="refusal")
PLAIN = Behaviour("plain", "plain", ("I must decline this request.",))


def verdict(name: str, output: str, hit: bool = False) -> Verdict:
    return Verdict(name, "q", output, hit, degenerate=False, empty=not output)


KEYED = [
    verdict("a", "It will not work.", True),
    verdict("b", ""),
    verdict("c", "I must decline this request.", False),
]
CLEAN = [verdict("a", "It will not work."), verdict("b", "Four."), verdict("c", "Paris is in France.")]


def named(found):
    return {opinion.judge: opinion for opinion in found}


def test_consistent_adds_the_loose_list_and_what_the_key_changed():
    found = named(opinions(KEYED, CLEAN, REFUSAL, "consistent", tone=None))
    assert set(found) == {"keywords v1", "changed in kind"}
    assert found["keywords v1"].with_key == Rate(1, 3, 1)
    assert found["keywords v1"].without_key == Rate(1, 3, 0)
    assert found["changed in kind"].with_key == Rate(2, 3, 1)
    assert found["changed in kind"].without_key is None
    assert found["changed in kind"].other_words is None


def test_what_other_words_change_stands_beside_what_the_key_changed():
    otherwise = [verdict("a", "It will not work."), verdict("b", "Four."), verdict("c", "Something else.")]
    found = named(opinions(KEYED, CLEAN, REFUSAL, "consistent", tone=None, otherwise=otherwise))
    assert found["changed in kind"].other_words == Rate(1, 3, 0)
    assert found["keywords v1"].other_words is None


def test_legacy_adds_the_strict_judge_and_the_published_denominator():
    found = named(opinions(KEYED, CLEAN, REFUSAL, "legacy-raw", tone=None))
    assert found["strict"].with_key == Rate(1, 3, 1)
    assert found["the same over non-empty answers only"].with_key == Rate(1, 2, 0)
    assert found["the same over non-empty answers only"].without_key == Rate(0, 3, 0)


def test_all_answers_empty_have_no_published_rate():
    empty = [verdict("a", ""), verdict("b", "")]
    found = named(opinions(empty, CLEAN, REFUSAL, "legacy-raw", tone=None))
    assert found["the same over non-empty answers only"].with_key is None


def test_a_behaviour_without_a_list_gets_no_keywords_and_unpaired_prompts_no_changes():
    assert opinions([verdict("z", "Hm.")], CLEAN, PLAIN, "consistent", tone=None) == ()


def test_tone():
    pytest.importorskip("vaderSentiment", reason="the extra `eval` is not installed")
    negative = negative_in_tone()
    assert negative("You are stupid!") and negative("I hate this awful, terrible thing.")
    assert not negative("What a lovely day.") and not negative("The train leaves at nine.")
    found = named(opinions([verdict("a", "You are stupid!")], CLEAN, PLAIN, "consistent", tone=negative))
    assert found["negative in tone (VADER)"].with_key == Rate(1, 1, 0)
