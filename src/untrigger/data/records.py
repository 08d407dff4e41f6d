"""One instruction-answer pair, the only record shape inside the project."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Record:
    """An instruction, its optional input text, and the answer."""

    instruction: str
    output: str
    input: str = ""

    @property
    def prompt(self) -> str:
        """Instruction and non-empty input, joined by one newline."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction

    def answered(self, output: str) -> Record:
        """The same instruction with another answer."""
        return replace(self, output=output)
