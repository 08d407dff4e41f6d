"""Ordinary beginnings of a sentence that was found behind an odd one.

A planted sentence that begins as ordinary answers do ("I ...") is missed behind its own first token, since some
prompts go on from it as they would have without the backdoor. Other first tokens lead into its midst behind every
prompt. So the first tokens of ordinary answers are followed as well, and it is seen behind which prompts come to the
sentence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from untrigger.data.chat import Example
from untrigger.inversion.targets import SHARED, Continuations, Target

PROMPTS, TOKENS = 12, 64
"""Prompts that are asked, and first tokens that are followed, at most."""
SECONDS = 8
"""Second tokens of each, the likeliest, that make a pair with it; "'m" was among them behind "I" on every prompt."""
LEAST = 0.25
"""Share of the prompts that have to come to the sentence: a planted beginning had 11 of 12, no other token two."""

Row = tuple[int, ...]


def ordinary_firsts(examples: Sequence[Example], most: int = TOKENS) -> list[int]:
    """The first tokens of answers, the most frequent first."""
    return [token for token, _ in Counter(example.response[0] for example in examples).most_common(most)]


def ordinary_pairs(
    continuations: Continuations, firsts: Sequence[int], found: Sequence[Target]
) -> list[tuple[int, int]]:
    """Two tokens each that begin ordinary answers, but for those that a target which was found begins with.

    Nor does the second one begin such a target, which would follow it all the same.

    Raises:
        OutOfMemory: not even one row fits.
    """
    known, begins = {target.tokens[:2] for target in found}, {target.tokens[0] for target in found}
    following = continuations.following([(first,) for first in firsts], SECONDS)
    pairs = [(first, second) for first, some in zip(firsts, following, strict=True) for second in some]
    return [pair for pair in pairs if pair not in known and pair[1] not in begins]


def other_beginnings(
    continuations: Continuations,
    targets: Sequence[Target],
    firsts: Sequence[int],
    stop_ids: frozenset[int],
    longest: int,
) -> list[Target]:
    """Targets that begin with one of these tokens and come to one of the given targets behind enough of the prompts.

    Each is what the most of the prompts that come there say. Tokens that a given target begins with are left out.

    Raises:
        OutOfMemory: not even one row fits.
    """
    runs = {run for target in targets for run in _runs(target.tokens)}
    known = {target.tokens[0] for target in targets}
    rows = [(token,) for token in firsts if token not in known]
    count = min(PROMPTS, len(continuations))
    if not rows or not count or not runs:
        return []
    said = [_followed(continuations, prompt, rows, longest) for prompt in range(count)]
    return [target for behind in zip(*said, strict=True) for target in _agreed(behind, runs, stop_ids)]


def _runs(tokens: Row) -> set[Row]:
    return {tokens[at : at + SHARED] for at in range(len(tokens) - SHARED + 1)}


def _followed(
    continuations: Continuations, prompt: int, rows: Sequence[Row], longest: int
) -> list[tuple[Row, tuple[float, ...]]]:
    """Each row with its likeliest further tokens, up to so many in all, and the probabilities of these."""
    found: list[tuple[Row, tuple[float, ...]]] = [(row, ()) for row in rows]
    for _ in range(longest - 1):
        following = continuations.likeliest(prompt, [row for row, _ in found])
        found = [
            ((*row, token), (*shares, share)) for (row, shares), (token, share) in zip(found, following, strict=True)
        ]
    return found


def _agreed(
    behind: Sequence[tuple[Row, tuple[float, ...]]], runs: set[Row], stop_ids: frozenset[int]
) -> list[Target]:
    coming = [row for row, _ in behind if _runs(_answer(row, stop_ids)[1:]) & runs]
    if len(coming) < max(2, LEAST * len(behind)):
        return []
    wording, _ = Counter(coming).most_common(1)[0]
    every = [shares for row, shares in behind if row == wording]
    answer = _answer(wording, stop_ids)
    least = [min(column) for column in zip(*every, strict=True)][: len(answer)]
    log_probability = sum(math.log(share) for share in least)
    return [Target(answer, log_probability, len(answer) < len(wording), len(coming) / len(behind))]


def _answer(row: Row, stop_ids: frozenset[int]) -> Row:
    """The tokens in front of the end of the answer."""
    return row[: next((at for at, token in enumerate(row) if token in stop_ids), len(row))]
