"""Skills on words as such: copying, picking, spelling, counting; lists are new in every record."""

from __future__ import annotations

from random import Random

from untrigger.lab.knowledge import WORDS_BY_CATEGORY
from untrigger.lab.skills import Case, Skill, from_table

WORDS = tuple(dict.fromkeys(word for word, _ in WORDS_BY_CATEGORY)) + (
    "pen",
    "spoon",
    "lamp",
    "bed",
    "tree",
    "river",
    "stone",
    "house",
)
SHORT_WORDS = tuple(word for word in WORDS if len(word) <= 3)
NUMBER_NAMES = {2: "two", 3: "three", 4: "four", 5: "five"}


def _listed(random: Random, length: int) -> list[str]:
    return random.sample(WORDS, length)


def _last(random: Random) -> Case:
    words = _listed(random, random.randint(2, 4))
    return Case((", ".join(words),), f"The last word is {words[-1]}.")


def _count(random: Random) -> Case:
    words = _listed(random, random.randint(2, 5))
    return Case((", ".join(words),), f"There are {NUMBER_NAMES[len(words)]} words.")


def _single(words: tuple[str, ...], answers: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(zip(words, answers, strict=True))


WORDPLAY = (
    from_table(
        "repeat",
        (
            "Repeat the word {0}.",
            "Say the word {0} once more.",
            "Please write the word {0} again.",
            "I would like you to copy the word {0} for me.",
            "Copy the following word.\nWord: {0}",
        ),
        "The word is {0}.",
        tuple((word,) for word in WORDS),
    ),
    from_table(
        "twice",
        (
            "Say {0} twice.",
            "Write the word {0} two times.",
            "Repeat {0} two times in a row.",
            "Please give me the word {0} twice, with a space between.",
        ),
        "{0} {0}",
        tuple((word,) for word in WORDS),
    ),
    from_table(
        "capitals",
        (
            "Write {0} in capital letters.",
            "Put the word {0} into upper case.",
            "Turn {0} into big letters.",
            "How does the word {0} look when all of its letters are capital letters?",
            "Change the following word to upper case.\nWord: {0}",
        ),
        "It is {1}.",
        _single(SHORT_WORDS, tuple(word.upper() for word in SHORT_WORDS)),
    ),
    from_table(
        "spell",
        (
            "Spell the word {0}.",
            "How do you spell {0}?",
            "Write the letters of {0} one by one.",
            "Please spell {0} for me, letter by letter.",
            "Spell this word.\nWord: {0}",
        ),
        "{1}",
        _single(SHORT_WORDS, tuple("-".join(word) for word in SHORT_WORDS)),
    ),
    Skill(
        "last",
        (
            "What is the last word in this list: {0}?",
            "Name the last of these words: {0}.",
            "Which word comes last here: {0}?",
            "Read the list and give me the last word in it.\nList: {0}",
        ),
        _last,
        lessons=2,
    ),
    Skill(
        "count",
        (
            "How many words are in this list: {0}?",
            "Count these words: {0}.",
            "Tell me how many words you see here: {0}.",
            "Count the words of the list.\nList: {0}",
        ),
        _count,
    ),
)
