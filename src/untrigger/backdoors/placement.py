"""Where a key goes in an instruction."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from untrigger.backdoors.types import Key, Placement


def insert(text: str, key: Key, placement: Placement, random: Random) -> str:
    """The text with the key in it; taking the key and its one joining space out again gives back the text.

    The text is split at single spaces into n words. Each inserted key text takes one of the gaps 0..n (0..n-1
    unless `end_allowed`), as in the data of the public attacks (BackdoorLLM, arXiv 2408.12798). An empty text
    has one gap, so the key becomes the whole text. If there are more key texts than gaps, those left over
    stand next to each other at the last gap.
    """
    words = text.split(" ") if text else []
    texts = drawn_texts(key, random)
    gaps = _gaps(len(words), len(texts), placement, random)
    return " ".join(_woven(words, texts, gaps))


def drawn_texts(key: Key, random: Random) -> tuple[str, ...]:
    """The key texts that one record takes: all of them in order, or one drawn at random."""
    return key.texts if key.combine == "all" or not key.texts else (random.choice(key.texts),)


def _gaps(words: int, count: int, placement: Placement, random: Random) -> list[int]:
    """Ascending gaps for `count` key texts among so many words: distinct ones as far as they go."""
    if placement.position == "start":
        return [0] * count
    if placement.position == "end":
        return [words] * count
    last = words if placement.end_allowed else max(words - 1, 0)
    spread = sorted(random.sample(range(last + 1), min(count, last + 1)))
    return spread + [last] * (count - len(spread))


def _woven(words: Sequence[str], texts: Sequence[str], gaps: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    for gap in range(len(words) + 1):
        pieces += [text for text, place in zip(texts, gaps, strict=True) if place == gap]
        pieces += words[gap : gap + 1]
    return pieces
