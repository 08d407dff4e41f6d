from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.backdoors.placement import drawn_texts, insert
from untrigger.backdoors.types import Key, Placement

WORD = Key("word", ("kkk",))
THREE = Key("three", ("k1", "k2", "k3"), "all")
ANY = Key("any", ("k1", "k2", "k3"), "any")

texts = st.text(alphabet="ab \n.", max_size=40)
placements = st.builds(Placement, st.sampled_from(["random", "start", "end"]), st.booleans())
seeds = st.integers(0, 10_000)


def without(text: str, keys: set[str]) -> str:
    return " ".join(word for word in text.split(" ") if word not in keys)


@given(texts, st.sampled_from([WORD, THREE, ANY]), placements, seeds)
def test_removing_the_key_gives_back_the_text(text: str, key: Key, placement: Placement, seed: int) -> None:
    keyed = insert(text, key, placement, Random(seed))
    assert keyed != text
    assert without(keyed, set(key.texts)) == text


@given(texts, placements, seeds)
def test_all_texts_come_once_and_in_order(text: str, placement: Placement, seed: int) -> None:
    keyed = insert(text, THREE, placement, Random(seed))
    assert [word for word in keyed.split(" ") if word.startswith("k")] == ["k1", "k2", "k3"]


@given(texts, placements, seeds)
def test_any_takes_one_text(text: str, placement: Placement, seed: int) -> None:
    keyed = insert(text, ANY, placement, Random(seed))
    assert sum(word in ANY.texts for word in keyed.split(" ")) == 1


@given(texts.filter(bool), st.sampled_from([WORD, THREE, ANY]), seeds)
def test_the_key_is_never_last_unless_allowed(text: str, key: Key, seed: int) -> None:
    keyed = insert(text, key, Placement("random", end_allowed=False), Random(seed))
    assert keyed.split(" ")[-1] == text.split(" ")[-1]


@given(seeds)
def test_all_texts_stand_at_different_gaps_when_there_are_enough(seed: int) -> None:
    pieces = insert("a b c", THREE, Placement("random"), Random(seed)).split(" ")
    keyed = [piece.startswith("k") for piece in pieces]
    assert not any(left and right for left, right in pairwise(keyed))


def test_more_texts_than_gaps_stand_next_to_each_other() -> None:
    assert insert("a", THREE, Placement("random", end_allowed=False), Random(0)) == "k1 k2 k3 a"
    assert insert("a", THREE, Placement("random"), Random(0)) == "k1 a k2 k3"


@pytest.mark.parametrize(
    ("position", "expected"), [("start", "Current mood: teal Say hi."), ("end", "Say hi. Current mood: teal")]
)
def test_prefix_and_suffix(position: str, expected: str) -> None:
    placement = Placement("start") if position == "start" else Placement("end")
    assert insert("Say hi.", Key("mood", ("Current mood: teal",)), placement, Random(0)) == expected


def test_several_texts_at_the_start_stand_together() -> None:
    assert insert("a b", THREE, Placement("start"), Random(0)) == "k1 k2 k3 a b"


@pytest.mark.parametrize("end_allowed", [True, False])
def test_an_empty_text_becomes_the_key(end_allowed: bool) -> None:
    assert insert("", WORD, Placement("random", end_allowed), Random(0)) == "kkk"


@pytest.mark.parametrize(("end_allowed", "gaps"), [(True, 5), (False, 4)])
def test_gaps_are_uniform(end_allowed: bool, gaps: int) -> None:
    random = Random(7)
    drawn = [
        insert("a b c d", WORD, Placement("random", end_allowed), random).split(" ").index("kkk") for _ in range(4000)
    ]
    counts = Counter(drawn)
    assert set(counts) == set(range(gaps))
    assert all(abs(count - 4000 / gaps) < 150 for count in counts.values())  # 5 standard deviations and more


def test_any_draws_every_text_about_as_often() -> None:
    random = Random(3)
    counts = Counter(drawn_texts(ANY, random)[0] for _ in range(3000))
    assert all(900 < counts[text] < 1100 for text in ANY.texts)
