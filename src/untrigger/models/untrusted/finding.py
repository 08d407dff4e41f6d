"""What was noticed about a model's files, or about the records given, and not refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unknown-template",
    "template-branches",
    "template-replaced",
    "no-template",
    "pickle",
    "token-without-row",
    "nonfinite",
    "key-in-records",
    "synthetic-key-in-records",
    "planted-sentence",
]


@dataclass(frozen=True)
class Finding:
    """Something that the user of a model or of records should know; no proof of harm, nor its absence one of safety.

    `place` names the file or the part, without the path to it.
    """

    kind: Kind
    place: str
    text: str

    @property
    def line(self) -> str:
        """Place and text, as a note says them."""
        return f"{self.place}: {self.text}"
