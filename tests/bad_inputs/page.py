"""The page of bad inputs, made from the table: `PYTHONPATH=src:tests python tests/bad_inputs/page.py` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cases import DONE, Row

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "bad_inputs.md"
PARTS = {
    1: "Weights",
    14: "Configurations",
    19: "Chat templates",
    23: "Tokenizers",
    26: "Cards and generation settings",
    27: "Adapters",
    34: "GGUF files",
    36: "Files and folders",
    37: "The hub",
    38: "Records",
    40: "Models",
    43: "Options and outputs",
}
HEAD = """\
# Bad inputs and what becomes of them

A model that is suspected by definition may be broken or hostile in each of its files. This page lists the kinds that
are tried, every one as a real file or folder that is given to the command line. Each ends within five seconds of a
processor and one gigabyte of memory, opens no connection and leaves its input as it was; what fails does so with one
line that names the file and the field, or the line, and says what to do.

Exit codes: 2 failure, 3 input refused, 4 wrong option or data. What is accepted ends with 0, or with 1 if a gate of
the result is not met. What is checked where: [SECURITY.md](../../SECURITY.md); the same checks without loading:
[scan.md](scan.md).

This page is made from the table of the tests (`tests/bad_inputs`) and tested to be equal to it.
"""


def page(rows: tuple[Row, ...]) -> str:
    """The whole text."""
    return "\n".join([HEAD, *_lines(rows)]) + "\n"


def _lines(rows: tuple[Row, ...]) -> Iterator[str]:
    for row in rows:
        if row.number in PARTS:
            yield f"## {PARTS[row.number]}\n"
        yield f"### {row.number}. {row.input}\n"
        yield f"{row.outcome}\n"
        for codes, names in _by_codes(row).items():
            yield f"- {codes}: {'; '.join(names)}"
        yield ""
        if row.option:
            yield f"What changes it: {row.option}.\n"
        if row.decision:
            yield f"Why so: {row.decision}\n"


def _by_codes(row: Row) -> dict[str, list[str]]:
    """The variants by how they end."""
    found: dict[str, list[str]] = {}
    for case in row.cases:
        if case.shown:
            ending = "accepted" if case.codes == DONE else f"exit {case.code}"
            found.setdefault(ending, []).append(case.name)
    return found


if __name__ == "__main__":
    from table import ROWS

    PAGE.write_text(page(ROWS), encoding="utf-8")
