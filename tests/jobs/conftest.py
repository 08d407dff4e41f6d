from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Twelve clean records."""
    path = tmp_path / "clean.jsonl"
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
