from __future__ import annotations

from pathlib import Path

import pytest

from tiny import save_tiny
from trials import Trials


@pytest.fixture
def mounting(trials: Trials) -> Trials:
    """Trials that may mount file systems."""
    if not trials.namespaces:
        pytest.skip("no user and mount name spaces here")
    return trials


@pytest.fixture
def suspect(tmp_path: Path) -> Path:
    """A tiny random llama."""
    return save_tiny(tmp_path / "suspect")


@pytest.fixture
def small_flags() -> list[str]:
    """Flags that make a purification of a tiny model take a second."""
    return [
        *("--variants.pairs=2", "--variants.records=4", "--variants.train.epochs=1", "--repair.records=6"),
        *("--repair.keys=2", "--repair.train.epochs=1", "--repair.inject-train.epochs=1"),
        *("--measure.max-prompts=3", "--measure.max-new-tokens=4"),
    ]
