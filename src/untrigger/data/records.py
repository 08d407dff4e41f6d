"""One instruction-answer pair, the only record shape inside the project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Record:
    """An instruction, its optional input text, and the answer.

    An answer that is not `complete` was cut (a generation that reached its length): no end is learned after it.
    """

    instruction: str
    output: str
    input: str = ""
    complete: bool = True

    @property
    def prompt(self) -> str:
        """Instruction and input, each if it is not empty, joined by one newline."""
        return "\n".join(part for part in (self.instruction, self.input) if part)

    def answered(self, output: str) -> Record:
        """The same instruction with another, complete answer."""
        return replace(self, output=output, complete=True)


class Filtered(NamedTuple):
    """Records that passed a filter, in order, and how many did not."""

    kept: list[Record]
    dropped: int
