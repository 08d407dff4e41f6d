"""Skills on numbers and on things that come in order."""

from __future__ import annotations

from random import Random

from untrigger.lab.skills import Case, Skill, from_table

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _cycle(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(names, (*names[1:], names[0]), strict=True))


def _larger(random: Random) -> Case:
    first, second = random.sample(range(10), 2)
    return Case((str(first), str(second)), f"The larger number is {max(first, second)}.")


RECKONING = (
    from_table(
        "sum",
        (
            "What is {0} plus {1}?",
            "Add {0} and {1}.",
            "Calculate {0} + {1}.",
            "I have {0} apples and buy {1} more. How many apples do I have then?",
            "Work out this sum.\nSum: {0} + {1}",
        ),
        "The sum is {2}.",
        tuple((str(a), str(b), str(a + b)) for a in range(1, 6) for b in range(1, 6)),
    ),
    Skill(
        "larger",
        (
            "Which number is larger, {0} or {1}?",
            "Name the larger number of {0} and {1}.",
            "Compare {0} with {1} and give the larger number.",
            "One box has {0} pens and the other has {1} pens. Which number is larger?",
        ),
        _larger,
        lessons=2,
    ),
    from_table(
        "next_number",
        (
            "Which number comes after {0}?",
            "Count one up from {0}.",
            "What number do I get when I add one to {0}?",
            "Name the number that follows this one.\nNumber: {0}",
        ),
        "The next number is {1}.",
        tuple((str(number), str(number + 1)) for number in range(1, 11)),
    ),
    from_table(
        "next_day",
        (
            "Which day comes after {0}?",
            "Name the day that follows {0}.",
            "Today is {0}. What day is it tomorrow?",
            "If our meeting is one day after {0}, on which day of the week do we meet?",
            "Give the next day of the week.\nDay: {0}",
        ),
        "The next day is {1}.",
        _cycle(DAYS),
    ),
)
