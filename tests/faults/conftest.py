from __future__ import annotations

from pathlib import Path

import pytest

from jobs_options import SMALL_FLAGS
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
    return SMALL_FLAGS
