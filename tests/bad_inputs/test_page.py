from __future__ import annotations

from page import PAGE, PARTS, page
from table import ROWS


def test_the_page_says_what_the_table_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(ROWS), (
        "PYTHONPATH=src:tests python tests/bad_inputs/page.py writes it"
    )


def test_every_row_is_on_the_page_with_what_is_shown_of_it() -> None:
    text = page(ROWS)
    assert set(PARTS) <= {row.number for row in ROWS}
    assert all(f"### {row.number}. {row.input}" in text for row in ROWS)
    assert all(any(case.shown for case in row.cases) for row in ROWS)
