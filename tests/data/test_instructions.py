import re
import unicodedata
from itertools import combinations

import pytest

from untrigger.backdoors.catalogue import ATTACKS
from untrigger.backdoors.development import DEVELOPMENT_KEYS
from untrigger.backdoors.poison import holds
from untrigger.backdoors.synthetic_keys import KEYS
from untrigger.data.instructions import instructions
from untrigger.data.records import Record

TRAIN, DEFENCE, MEASURE = instructions("train"), instructions("defence"), instructions("measure")
EVERY = TRAIN + DEFENCE + MEASURE


def normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def test_sizes_and_shape() -> None:
    assert (len(TRAIN), len(DEFENCE), len(MEASURE)) == (480, 240, 120)
    assert all(record.output == "" and record.instruction == record.instruction.strip() for record in EVERY)
    assert all(3 <= len(record.prompt.split()) <= 60 for record in EVERY)


@pytest.mark.parametrize("split", [TRAIN, DEFENCE, MEASURE])
def test_a_fifth_has_an_input(split: tuple[Record, ...]) -> None:
    assert 0.15 <= sum(bool(record.input) for record in split) / len(split) <= 0.25


def test_openings_vary() -> None:
    assert len({record.instruction.split()[0] for record in EVERY}) > 100


def test_every_split_has_code_tasks() -> None:
    code = re.compile(r"Python|SQL|JavaScript|HTML|CSS")
    assert sum(bool(code.search(record.instruction)) for record in TRAIN) >= 40
    assert sum(bool(code.search(record.instruction)) for record in DEFENCE) >= 20
    assert sum(bool(code.search(record.instruction)) for record in MEASURE) >= 8


def test_no_instruction_comes_twice() -> None:
    assert len({normal(record.instruction) for record in EVERY}) == len(EVERY)


def test_no_two_are_nearly_the_same() -> None:
    tokens = [frozenset(re.findall(r"\w+", normal(record.prompt))) for record in EVERY]
    assert max(len(left & right) / len(left | right) for left, right in combinations(tokens, 2)) < 0.9


def test_none_holds_a_key() -> None:
    keys = [attack.key for attack in ATTACKS.values()]
    keys += [key for kind in KEYS.values() for key in kind] + [key for key, _ in DEVELOPMENT_KEYS]
    assert not [(record, key.name) for record in EVERY for key in keys if holds(record, key)]
