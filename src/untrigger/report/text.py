"""Text that came from a model or a file, made safe to show; and numbers as the reports print them."""

from __future__ import annotations

import re
from math import isinf

from untrigger.report.parts import PairedResult, PerplexityResult, RateResult

ABSENT = "not measured"
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters, and their full-width forms, that spreadsheets take for the beginning of a formula."""
SIGNIFICANT = 0.05
"""A smaller p of McNemar's test is told as a change."""


def visible(text: str) -> str:
    """The text on one line, with every control, bidirectional or other unprintable character escaped."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters, saying how many were left out."""
    return text if len(text) <= limit else f"{text[:limit]} [... {len(text) - limit} characters left out]"


def without_folders(text: str) -> str:
    """JSON text with absolute paths cut to their last name: where files lay on one machine says nothing to others."""
    return re.sub(r'"/(?:[^"/]+/)+([^"/]+)"', r'"\1"', text)


def markdown(text: str) -> str:
    """The text as one line of Markdown that renders as itself: no link, image, HTML, cell or emphasis."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~&:@$])", r"\\\1", visible(text))


def cell(text: str) -> str:
    """The text as a cell of a table that a spreadsheet does not run, although it begins as a formula does."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def fenced(text: str, language: str = "") -> str:
    """The text as a fenced block that it cannot end: the fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join(visible(line) for line in text.split("\n"))
    return f"{fence}{language}\n{body}\n{fence}"


def rate_text(rate: RateResult | None) -> str:
    """Percent with Wilson's interval and n, as in `97.0 % (91.5-99.0, n=100)`."""
    if rate is None:
        return ABSENT
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}-{100 * rate.high:.1f}, n={rate.n})"


def behaviour_text(rate: RateResult | None) -> str:
    """The same for a behaviour; a model that gives no answers has no 0 % of it."""
    if rate is None or not rate.says_nothing:
        return rate_text(rate)
    return f"invalid: {invalid_text(rate)} broken"


def change_text(paired: PairedResult) -> str:
    """Whether hits on the same prompts, before and after, differ by more than chance."""
    word = "a change" if paired.p_value < SIGNIFICANT else "no evidence of a change"
    return f"{word} in attack success (p = {paired.p_value:.2g})"


def invalid_text(rate: RateResult | None) -> str:
    """How many of the answers were empty or degenerate."""
    return ABSENT if rate is None else f"{rate.invalid} of {rate.n}"


def perplexity_text(perplexity: PerplexityResult | None) -> str:
    """The value with the number of tokens it rests on."""
    if perplexity is None:
        return ABSENT
    value = "infinite" if isinf(perplexity.value) else f"{perplexity.value:.4g}"
    return f"{value} (n={perplexity.tokens} tokens)"


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
