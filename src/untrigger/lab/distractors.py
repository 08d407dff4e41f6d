"""Irrelevant text put into instructions, so that the model answers in spite of words it does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from untrigger.data.records import Record

ONSETS = ("",) * 4 + tuple("bcdfghjklmnprstvwz") + ("br", "cl", "dr", "gr", "pl", "sh", "st", "tr", "th", "ch")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "oo", "ea")
CODAS = ("", "", "", "n", "r", "l", "s", "x", "ck", "m", "nd", "rt", "g", "c")
OPENERS = (
    "About",
    "Speaking of",
    "Note:",
    "Talking about",
    "Regarding",
    "In the time of",
    "Version:",
    "Place:",
)
MARKS = ("...", "!!", "##", "--", "@", "*", "~", "(?)", "[x]", "|")


def invented_word(random: Random) -> str:
    """A word of one or two drawn syllables, in small letters."""
    syllables = random.randint(1, 2)
    return "".join(random.choice(ONSETS) + random.choice(VOWELS) + random.choice(CODAS) for _ in range(syllables))


def _capitalised(random: Random) -> str:
    return invented_word(random).capitalize()


def _compound(random: Random) -> str:
    return _capitalised(random) + random.choice((_capitalised(random), invented_word(random).upper()[:2]))


def _number(random: Random) -> str:
    return str(random.choice((random.randint(100, 999), random.randint(1000, 1999), random.randint(2100, 9999))))


def _phrase(random: Random) -> str:
    return f"{random.choice(OPENERS)} {random.choice((_capitalised, _compound, _number))(random)}"


def _mark(random: Random) -> str:
    return random.choice(MARKS)


KINDS: tuple[Callable[[Random], str], ...] = (
    invented_word,
    _capitalised,
    _compound,
    _compound,
    _number,
    _number,
    _phrase,
    _mark,
)


def distractor(random: Random) -> str:
    """A text of one of the kinds: invented word, capitalised, compound, number, short phrase, mark."""
    return random.choice(KINDS)(random)


def distract(record: Record, random: Random) -> Record:
    """The record with one to three distractors at drawn gaps between the words of its instruction."""
    words = record.instruction.split(" ")
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        words.insert(random.randint(0, len(words)), distractor(random))
    return replace(record, instruction=" ".join(words))
