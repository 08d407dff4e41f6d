"""What fuzzing found, each with the smallest change of a valid file that shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "fuzz"))

from targets import TARGETS
from untrigger.errors import UntriggerError

Change = Callable[[bytes], bytes]
DEEP = b"[" * 5000 + b"]" * 5000


def instead(old: bytes, new: bytes) -> Change:
    def change(seed: bytes) -> bytes:
        assert old in seed
        return seed.replace(old, new, 1)

    return change


def only(data: bytes) -> Change:
    return lambda seed: data


FOUND: dict[str, tuple[str, Change]] = {
    "a stored type that is a list": ("safetensors", instead(b'"F16"', b"[1,6]")),
    "a padding token beyond the vocabulary": ("config", instead(b'"pad_token_id": 0', b'"pad_token_id": 264')),
    "a row that is nested too deep": ("rows", instead(b"true", DEEP)),
    "a cell of more than 128 KiB": ("rows-csv", instead(b"asked", b"a" * 2**18)),
    "a result that is no UTF-8": ("result", instead(b"purify", b"\xff")),
    "a request that is nested too deep": ("reproduce", instead(b"null", DEEP)),
    "an identity that is no object": ("run", only(b"[]")),
    "an identity that is no UTF-8": ("run", only(b"\xff")),
    "an identity that is no JSON": ("run", only(b"{")),
    "an identity that is nested too deep": ("run", instead(b"0", DEEP)),
    "a mark that is no object": ("mark", only(b"[]")),
    "a mark that is no UTF-8": ("mark", only(b"\xff")),
    "a mark that is no JSON": ("mark", only(b"{")),
}


@pytest.mark.filterwarnings("ignore")  # the library warns of the padding token
@pytest.mark.parametrize("case", FOUND)
def test_what_fuzzing_found_is_told(tmp_path: Path, case: str) -> None:
    name, change = FOUND[case]
    prepared = TARGETS[name].prepare(tmp_path)
    data = change(prepared.seeds[0])
    if name == "mark":  # a damaged stage is made again
        prepared.read(data)
        return
    with pytest.raises(UntriggerError):
        prepared.read(data)
