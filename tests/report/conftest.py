"""A small, complete result for the report tests."""

from collections.abc import Callable

import pytest

from report_samples import HOSTILE, some_result
from untrigger.report.result import Result


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Builds a result with some fields changed."""
    return some_result


@pytest.fixture
def result() -> Result:
    return some_result()
