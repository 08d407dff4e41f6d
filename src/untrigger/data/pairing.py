"""Finds the clean prompt that each key-bearing prompt was made from."""

from __future__ import annotations

from collections.abc import Sequence

from untrigger.data.records import Record


def pairs_of(clean: Sequence[Record], keyed: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Each key-bearing record behind its clean one; none unless all pair up, each clean one at most once.

    A pair has the same input, and the words of the clean instruction stand in the other in the same order, with the
    key's words between them. Of several such clean records the longest is taken: the fewest words are then the key's.
    """
    words = [record.instruction.split() for record in clean]
    free = sorted(range(len(clean)), key=lambda index: -len(words[index]))
    found: list[tuple[Record, Record]] = []
    for record in keyed:
        bearing = record.instruction.split()
        match = next(
            (i for i in free if clean[i].input.strip() == record.input.strip() and _within(words[i], bearing)), None
        )
        if match is None:
            return []
        free.remove(match)
        found.append((clean[match], record))
    return found


def _within(words: Sequence[str], longer: Sequence[str]) -> bool:
    rest = iter(longer)
    return all(word in rest for word in words)
