"""Makes `tiny` importable from every test folder (pytest puts a conftest's folder on the path)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are counted, not timed: a busy machine must not fail a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Twelve clean records."""
    path = tmp_path / "clean.jsonl"
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
