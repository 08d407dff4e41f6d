"""Counts of odd values, and the collector of findings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from untrigger.errors import InputRefused
from untrigger.inspection.findings import MOST_ALIKE, Collector
from untrigger.inspection.rules import LIMITS, RULES, Severity
from untrigger.inspection.tensors import Reading, read_values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0], Reading(2, 0, 2, 0)),
        ([0.0, -0.0], Reading(2, 0, 0, 0)),
        ([float("nan"), float("inf"), 1.0], Reading(3, 2, 3, 0)),
        ([1e-41, -1e-41, 1.0, 0.0], Reading(4, 0, 3, 2)),
        ([], Reading(0, 0, 0, 0)),
    ],
    ids=["plain", "zero", "not finite", "denormal", "empty"],
)
def test_values_are_counted(values: list[float], expected: Reading) -> None:
    assert read_values(torch.tensor(values)) == expected


def test_what_is_denormal_depends_on_the_type() -> None:
    assert read_values(torch.tensor([1e-6], dtype=torch.float16)).denormal == 1
    assert read_values(torch.tensor([1e-6], dtype=torch.bfloat16)).denormal == 0
    for plain in (torch.tensor([1, 0]), torch.tensor([True, False]), torch.tensor([1, 0], dtype=torch.uint8)):
        assert read_values(plain) == Reading(2, 0, 1, 0)


def test_pieces_are_counted_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.tensor([[0.0, 1.0, torch.nan], [1e-41, 2.0, 0.0]])
    whole = read_values(tensor)
    monkeypatch.setattr("untrigger.inspection.tensors._AT_ONCE", 1)
    assert read_values(tensor) == whole == Reading(6, 1, 4, 1)


def test_findings_are_told_once_the_worst_first_and_without_the_path() -> None:
    found = Collector(Path("/secret/place"), "base/")
    found.add("dropped-settings", "config.json", "one")
    found.add("dropped-settings", "config.json", "one")
    found.refusal(
        "weights-refused", "model.safetensors", InputRefused("/secret/place/x is bad", why="why", todo="do")
    )
    worst, other = found.findings()
    assert (worst.severity, worst.file, worst.message) == (
        Severity.CRITICAL,
        "base/model.safetensors",
        "x is bad (why)",
    )
    assert other.file == "base/config.json"


def test_a_short_name_of_a_folder_is_not_cut_out_of_words() -> None:
    found = Collector(Path("pick"))
    found.add("weights-refused", "x", "pick holds a pickle; pick/x is one, see pick: picks")
    assert found.findings()[0].message == "the folder holds a pickle; x is one, see the folder: picks"


def test_of_many_alike_the_first_are_told_and_the_number_of_the_rest() -> None:
    found = Collector(Path("folder"))
    for number in range(MOST_ALIKE + 7):
        found.add("zero-vector", "a", f"tensor {number}", field=str(number))
    findings = found.findings()
    assert len(findings) == MOST_ALIKE + 1
    assert findings[-1].message == "7 more of the same kind"


def test_a_check_that_refuses_is_told_and_the_next_goes_on() -> None:
    found = Collector(Path("folder"))

    def refuse() -> int:
        raise InputRefused("no")

    assert found.attempt("unsafe-file", "a", refuse) is None and not found.passes("unsafe-file", "b", refuse)
    assert found.attempt("unsafe-file", "c", lambda: 3) == 3 and found.passes("unsafe-file", "d", lambda: None)
    assert [one.file for one in found.findings()] == ["a", "b"]


def test_every_rule_has_an_area_whose_limits_are_stated() -> None:
    assert {rule.area for rule in RULES.values()} == set(LIMITS)
    assert all(name == rule.id and rule.meaning.endswith(".") for name, rule in RULES.items())
