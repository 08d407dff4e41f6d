from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from trials import Trials, started

from jobs_options import SMALL_FLAGS
from tiny import save_tiny


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Trials in forks of one prepared process."""
    found = started(tmp_path_factory.mktemp("trials"))
    with found.process as process:
        yield found
        assert process.stdin is not None
        process.stdin.close()


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
