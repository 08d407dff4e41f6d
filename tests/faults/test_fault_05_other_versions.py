"""Fault 5: other options or libraries between two starts of one run: refused, and the difference is told."""

from __future__ import annotations

import pytest

from jobs_options import SMALL
from tiny import save_tiny
from untrigger.errors import Interrupted, UsageError
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.report import summary
from untrigger.runs import open_run


class Stopping(Silent):
    """Stops at the first training."""

    def stop(self):
        return True


@pytest.fixture
def request_again(tmp_path, suspect, records):
    request = Request(str(suspect), tmp_path / "out", data=records)
    with pytest.raises(Interrupted):
        purify(request, SMALL, Stopping())
    return request


def test_fault_05_another_library_version(request_again, monkeypatch):
    real = summary.version
    monkeypatch.setattr(summary, "version", lambda name: "99.0" if name == "torch" else real(name))
    with pytest.raises(UsageError, match=r'environment\.packages\.torch: "[^"]*" then, "99\.0" now') as refused:
        purify(request_again, SMALL)
    assert "transformers" not in refused.value.line()


def test_fault_05_another_option(request_again):
    with pytest.raises(UsageError, match=r"\(options\.repair\.keys: 2 then, 3 now\)"):
        purify(request_again, SMALL.model_copy(update={"repair": SMALL.repair.model_copy(update={"keys": 3})}))


def test_fault_05_other_weights_under_the_same_name(request_again, suspect):
    save_tiny(suspect, seed=1)
    with pytest.raises(UsageError, match=r"model\.files\.model\.safetensors"):
        purify(request_again, SMALL)


def test_fault_05_many_differences_are_counted(tmp_path):
    with open_run(tmp_path / "run", {str(number): number for number in range(20)}):
        pass
    with pytest.raises(UsageError, match="14 more"), open_run(tmp_path / "run", {}):
        pass
