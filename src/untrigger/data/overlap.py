"""Keeps what is trained on apart from what is measured on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from untrigger.data.records import Filtered, Record


def without_overlap(pool: Iterable[Record], measured: Iterable[Record]) -> Filtered:
    """The records of the pool whose instruction is asked in none of the measured records, and how many were.

    Instructions count as equal after Unicode's compatibility form, without letter case, and with every run of white
    space as one space.
    """
    asked = {_asked(record) for record in measured}
    every = list(pool)
    kept = [record for record in every if _asked(record) not in asked]
    return Filtered(kept, len(every) - len(kept))


def _asked(record: Record) -> str:
    """What is compared: the instruction, or the input of a record that has nothing else."""
    text = record.instruction.strip() or record.input
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
