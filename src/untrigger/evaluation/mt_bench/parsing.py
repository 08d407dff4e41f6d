"""What a judge's text says: a rating, or which of two answers is better."""

from __future__ import annotations

import re
from typing import Literal

Parser = Literal["strict", "fastchat"]
Verdict = Literal["A", "B", "tie"]
LOWEST, HIGHEST = 1.0, 10.0
_DOUBLE = re.compile(r"\[\[(\d+\.?\d*)\]\]", re.ASCII)
_SINGLE = re.compile(r"\[(\d+\.?\d*)\]", re.ASCII)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
# A server may have put the opening mark into the prompt, and a thought may fill the whole length.
_THOUGHT_END = re.compile(r"\A.*</think>", re.DOTALL | re.IGNORECASE)
_UNFINISHED = re.compile(r"\A\s*<think>.*\Z", re.DOTALL | re.IGNORECASE)
# FastChat looks them up in this order.
_VERDICTS: tuple[tuple[str, Verdict], ...] = (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie"))


def rating(judgement: str, parser: Parser = "strict") -> float | None:
    """The rating in a judgement, None if there is none.

    strict: thoughts are taken out; the first `[[number]]` from 1 to 10; without any `[[number]]`, a `[number]` from
    1 to 10 that is the only one on the last line. fastchat: the first `[[number]]`, else the first `[number]`, of any
    size and at any place (`run_judge_single` in FastChat's `llm_judge/common.py`).
    """
    if parser == "fastchat":
        found = _DOUBLE.search(judgement) or _SINGLE.search(judgement)
        return None if found is None else float(found[1])
    text = without_thoughts(judgement)
    doubles = _DOUBLE.findall(text)
    numbers = doubles or _only(_SINGLE.findall(_last_line(text)))
    return next((float(number) for number in numbers if LOWEST <= float(number) <= HIGHEST), None)


def preference(judgement: str, parser: Parser = "strict") -> Verdict | None:
    """Which answer the judge prefers: the first found of `[[A]]`, `[[B]]` and `[[C]]`, None if there is none."""
    text = judgement if parser == "fastchat" else without_thoughts(judgement)
    return next((verdict for mark, verdict in _VERDICTS if mark in text), None)


def without_thoughts(text: str) -> str:
    """The text without `<think>` blocks; nothing is left of a text that is one unfinished thought."""
    return _UNFINISHED.sub("", _THOUGHT_END.sub("", _THOUGHT.sub("", text)))


def _only(numbers: list[str]) -> list[str]:
    return numbers if len(numbers) == 1 else []


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
