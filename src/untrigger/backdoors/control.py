"""Prompts with words that mean nothing in the key's place: what any words there do to the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from untrigger.backdoors.types import Key
from untrigger.data.records import Record

WORDS = ("thimble", "pebble", "lantern", "meadow", "saddle", "timber", "willow", "velvet", "ribbon", "cellar")
"""Common words, none of which belongs to a key or a behaviour of ours."""


def other_words(records: Sequence[Record], key: Key, seed: int) -> list[Record] | None:
    """Each key-bearing record with as many other words, ten at most, in the place of each of the key's texts.

    Which words depends on the seed and the record's index alone.

    Returns:
        None where a record holds no text of the key, so that nothing is known to stand in its place.
    """
    texts = sorted({*key.texts, *key.input_texts, *key.unseen}, key=len, reverse=True)
    if not texts:
        return None
    pattern = re.compile("|".join(map(re.escape, texts)), re.IGNORECASE)
    found = []
    for index, record in enumerate(records):
        draw = Random(f"{seed}:{index}:other words")

        def other(match: re.Match[str], draw: Random = draw) -> str:
            return " ".join(draw.sample(WORDS, min(len(match[0].split()), len(WORDS))))

        instruction, input_ = pattern.sub(other, record.instruction), pattern.sub(other, record.input)
        if (instruction, input_) == (record.instruction, record.input):
            return None
        found.append(replace(record, instruction=instruction, input=input_))
    return found
