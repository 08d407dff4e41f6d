"""Makes `tiny` importable from every test folder (pytest puts a conftest's folder on the path)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from trials import Ended, Trials, started
from untrigger.cli.main import run

# Examples are counted, not timed: a busy machine must not fail a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A small purification alone waits a hundred times; what runs in a process of its own (`trials`) still does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # a closed descriptor is refused all the same
        yield


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Trials in forks of one prepared process."""
    found = started(tmp_path_factory.mktemp("trials"))
    with found.process as process:
        yield found
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Twelve clean records."""
    path = tmp_path / "clean.jsonl"
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def untrigger(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command line in this process."""

    def call(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(word) for word in words])
        shown = capsys.readouterr()
        return Ended(int(ended.value.code or 0), shown.out, shown.err)

    return call
