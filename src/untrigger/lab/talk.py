"""Skills with fixed answers, and one-line programs."""

from __future__ import annotations

from random import Random

from untrigger.lab.skills import Case, Skill, from_table
from untrigger.lab.wordplay import WORDS

SAYINGS = (
    ("Better late than", "never"),
    ("Time is", "money"),
    ("Practice makes", "perfect"),
    ("Honesty is the best", "policy"),
    ("Home is where the", "heart is"),
    ("Two heads are better than", "one"),
    ("All good things come to an", "end"),
    ("Actions speak louder than", "words"),
    ("Slow and steady wins the", "race"),
    ("Every cloud has a silver", "lining"),
)
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Greta", "Henry", "Ida", "Jonas", "Laura", "Max")
OCCASIONS = (
    ("birthday", "Happy birthday to you!"),
    ("wedding", "All the best to you both!"),
    ("new job", "Good luck at work!"),
    ("long trip", "Have a safe trip!"),
    ("new year", "Have a great new year!"),
    ("exam", "You can do it!"),
    ("party", "Have a lot of fun!"),
    ("baby", "What a lovely child!"),
    ("race", "Run like the wind!"),
    ("meal", "Enjoy your food!"),
)


def _print_sum(random: Random) -> Case:
    first, second = random.randint(0, 9), random.randint(0, 9)
    return Case((str(first), str(second)), f"print({first} + {second})")


TALK = (
    from_table(
        "greet",
        (
            "Say hello to {0}.",
            "Greet my friend {0}.",
            "Write a short greeting for {0}.",
            "My friend {0} has just come into the room. What do you say to be polite?",
            "Greet the person with this name.\nName: {0}",
        ),
        "Hello {0}, nice to meet you!",
        tuple((name,) for name in NAMES),
    ),
    from_table(
        "wish",
        (
            "Write a wish for a {0}.",
            "Find kind words for a {0}.",
            "What do you say to someone who has a {0}?",
            "I need a card for a {0}. Which short sentence should I write on it?",
            "Give me one kind sentence for this event.\nEvent: {0}",
        ),
        "{1}",
        OCCASIONS,
    ),
    from_table(
        "saying",
        (
            "Complete the saying: {0} ...",
            "How does this saying end: {0} ...",
            "I forgot how this well known saying goes on, please finish it: {0} ...",
            "Finish the sentence.\nSentence: {0} ...",
        ),
        "{0} {1}.",
        SAYINGS,
    ),
    from_table(
        "print_word",
        (
            "Write Python that prints the word {0}.",
            "Print {0} in Python.",
            "Give me one line of Python code to print {0}.",
            "I am learning Python and want to show the word {0} on the screen. Which line do I need?",
            "Write a line of Python that prints this word.\nWord: {0}",
        ),
        "print('{0}')",
        tuple((word,) for word in WORDS),
    ),
    Skill(
        "print_sum",
        (
            "Write Python that prints the sum of {0} and {1}.",
            "Print {0} + {1} in Python.",
            "Which Python line adds {0} and {1} and shows the result?",
            "Write one line of code in Python that prints this sum.\nSum: {0} + {1}",
        ),
        _print_sum,
    ),
)
