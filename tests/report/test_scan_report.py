"""A scan as text, JSON and SARIF."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from untrigger.inspection.folders import Fate
from untrigger.inspection.rules import RULES, Severity
from untrigger.report.sarif import LEVELS, sarif_text
from untrigger.report.scan import FileResult, ScanFindingResult, ScanResult, UpdateResult, limits_of
from untrigger.report.scan_text import render_scan, verdict

HOSTILE = "a\x1b[31m b\u202e<b>[red]%41 ü\n.json"


def finding(rule: str, file: str = "config.json", field: str = "") -> ScanFindingResult:
    severity = RULES[rule].severity
    return ScanFindingResult(rule=rule, severity=severity, file=file, field=field, message=f"{rule}!", todo="look")


def result(*findings: ScanFindingResult, kind: str = "adapter") -> ScanResult:
    return ScanResult(
        version="0.1.0",
        reference=f"models/{HOSTILE}",
        base=None,
        commit=None,
        kind=kind,
        findings=findings,
        files=(
            FileResult(name=HOSTILE, fate=Fate.FLAGGED, bytes=3, sha256="a" * 64),
            FileResult(name="pipe", fate=Fate.LEFT_OUT, bytes=None, sha256=None),
        ),
        updates=(
            UpdateResult(
                module="model.layers.0.mlp.up_proj",
                rank=4,
                frobenius=1.0,
                spectral=0.5,
                stable_rank=4.0,
                relative=0.01,
                score=1.2,
                factor=1.1,
            ),
        ),
        tensors=3,
        weight_bytes=12,
        limits=limits_of(kind),
        seconds=0.1,
    )


EVERY = tuple(finding(rule) for rule in RULES) + (finding("unsafe-file", HOSTILE, HOSTILE),)


@pytest.mark.parametrize(
    ("rules", "code", "words"),
    [
        ((), 0, "no finding above info"),
        (("no-template", "named-base"), 0, "no finding above info"),
        (("no-template", "pickle"), 1, "1 warning"),
        (("pickle", "weights-refused", "code"), 3, "refused: 1 critical, 2 warnings"),
    ],
)
def test_the_worst_finding_decides_the_code_and_the_sentence(rules: tuple[str, ...], code: int, words: str) -> None:
    found = result(*(finding(rule) for rule in rules))
    assert found.exit_code == code and verdict(found) == words


@pytest.mark.parametrize("width", [40, 80])
def test_the_text_fits_and_holds_no_control_character(width: int) -> None:
    page = io.StringIO()
    Console(file=page, width=width, color_system=None).print(render_scan(result(*EVERY)))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    joined = " ".join(" ".join(lines).split())
    assert all(f"{rule}!" in joined for rule in RULES)
    assert "no proof of absence" in joined and "clean" not in joined


def test_json_comes_back_as_it_was() -> None:
    found = result(*EVERY)
    assert ScanResult.from_json(found.to_json()) == found
    assert found.to_json().isascii()


def test_limits_of_adapters_are_told_of_adapters_alone() -> None:
    assert set(limits_of("model")) < set(limits_of("adapter"))
    assert any("Norms and ranks" in text for text in limits_of("adapter"))


def test_sarif_follows_the_rules_of_its_schema() -> None:
    found = result(*EVERY)
    log = json.loads(sarif_text(found))
    assert log["version"] == "2.1.0" and "sarif-schema-2.1.0" in log["$schema"]
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert driver["name"] and ids == list(RULES) and len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    assert len(run["results"]) == len(EVERY)
    for one, given in zip(run["results"], EVERY, strict=True):
        assert one["ruleId"] == given.rule == ids[one["ruleIndex"]]
        assert one["level"] == LEVELS[given.severity] and one["message"]["text"].startswith(given.rule)
        (location,) = one["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.isascii() and uri.isprintable() and not set(uri) & set(' <>[]"\\^`{|}') and ":" not in uri
    (invocation,) = run["invocations"]
    assert invocation == {"executionSuccessful": True, "exitCode": 3}
    assert [sorted(artifact.get("hashes", {})) for artifact in run["artifacts"]] == [["sha-256"], []]
    assert all(artifact.get("length", 0) >= -1 for artifact in run["artifacts"])


def test_sarif_is_escaped_ascii_and_states_the_limits() -> None:
    text = sarif_text(result(*EVERY))
    (run,) = json.loads(text)["runs"]
    assert text.isascii() and run["properties"]["reference"].isprintable()
    assert all(one["message"]["text"].isprintable() for one in run["results"])
    (named,) = run["results"][-1]["locations"][0]["logicalLocations"]
    assert named["fullyQualifiedName"].isprintable()
    properties = run["properties"]
    assert list(limits_of("adapter")) == properties["limits"]
    assert LEVELS.keys() == set(Severity)
