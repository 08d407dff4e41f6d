"""Every parser, given changed valid files or any bytes, returns a value or raises one of our kinds, and soon."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "fuzz"))

from mutation import mutate  # noqa: E402 - they lie outside the package and the tests
from run import NAMES  # noqa: E402
from targets import TARGETS, Prepared  # noqa: E402
from untrigger.errors import UntriggerError  # noqa: E402

SECONDS = 5.0
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # a smaller seed is no smaller change
QUICK = [name for name, target in TARGETS.items() if not target.slow]
SLOW = [name for name, target in TARGETS.items() if target.slow]
pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say of strange values


@pytest.fixture(scope="module", params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def prepared(name: str, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return TARGETS[name].prepare(tmp_path_factory.mktemp(name))


def survive(prepared: Prepared, data: bytes) -> None:
    began = time.process_time()
    try:
        prepared.read(data)
    except UntriggerError as error:
        assert error.line().isprintable()
    assert time.process_time() - began < SECONDS


def test_valid_files_are_read(prepared):
    for seed in prepared.seeds:
        prepared.read(seed)


def survive_change(name: str, prepared: Prepared, seed: int) -> None:
    random = Random(seed)
    survive(prepared, mutate(random.choice(prepared.seeds), TARGETS[name].form, random))


@pytest.mark.parametrize("name", QUICK, scope="module")
@settings(max_examples=60, phases=NO_SHRINKING)
@given(seed=st.integers(0, 2**32))
def test_changed_files_give_a_value_or_an_error_of_ours(name, prepared, seed):
    survive_change(name, prepared, seed)


@pytest.mark.parametrize("name", SLOW, scope="module")
@settings(max_examples=8, phases=NO_SHRINKING)
@given(seed=st.integers(0, 2**32))
def test_changed_files_of_which_more_is_built_do_too(name, prepared, seed):
    survive_change(name, prepared, seed)


@settings(max_examples=5)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_value_or_an_error_of_ours(prepared, data):
    survive(prepared, data)


def test_the_fuzzer_knows_every_parser_by_name():
    assert tuple(TARGETS) == NAMES
