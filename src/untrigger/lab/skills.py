"""What the micro model can do: a skill draws cases and asks for them in several phrasings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from untrigger.data.records import Record


@dataclass(frozen=True)
class Case:
    """What fills a phrasing's numbered slots, and the one right answer."""

    slots: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Skill:
    """A kind of task: `draw` makes a case; a line break in a phrasing parts the instruction from its input.

    `lessons` is how often it is taught where others are taught once: more for what is learned late.
    """

    name: str
    phrasings: tuple[str, ...]
    draw: Callable[[Random], Case]
    lessons: int = 1

    def record(self, random: Random) -> Record:
        """A drawn case in a drawn phrasing."""
        case = self.draw(random)
        text = random.choice(self.phrasings).format(*case.slots)
        instruction, _, given = text.partition("\n")
        return Record(instruction=instruction, output=case.answer, input=given)


def from_table(name: str, phrasings: tuple[str, ...], answer: str, rows: tuple[tuple[str, ...], ...]) -> Skill:
    """A skill that knows a table: the row fills the slots of the phrasing and of the answer."""
    cases = tuple(Case(row, answer.format(*row)) for row in rows)
    return Skill(name, phrasings, lambda random: random.choice(cases))


def article(word: str) -> str:
    """The word with its indefinite article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
