import json
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Measurement, Verdict
from untrigger.evaluation.rate import Rate
from untrigger.models.subject import Source
from untrigger.report.parts import (
    GateResult,
    MeasurementResult,
    RateResult,
    RunResult,
    SourceResult,
    VerdictResult,
)
from untrigger.report.result import Result
from untrigger.report.rows import json_lines, rows


def gate(met: bool | None) -> GateResult:
    return GateResult(name="degeneration", rule="rule", met=met, reason="reason")


def test_a_result_survives_its_json(result: Result) -> None:
    again = Result.from_json(result.to_json())
    assert again == result
    assert again.after.perplexity is not None and again.after.perplexity.value == inf
    assert again.to_json() == result.to_json()


def test_the_json_is_strict_ascii_whatever_the_names(make_result: Callable[..., Result], hostile: str) -> None:
    options = {"path": hostile}
    odd = make_result(run=RunResult(command="purify", options=options, version="0", seeds=(1,)))
    text = odd.to_json()
    assert text.isascii() and all(char.isprintable() or char == "\n" for char in text)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert Result.from_json(text).run.options == options


def test_a_rate_is_written_with_interval_and_counts(result: Result) -> None:
    written = json.loads(result.to_json())["before"]["attack_success"]
    assert written["hits"] == 97 and written["n"] == 100 and written["invalid"] == 3
    assert written["value"] == 0.97
    assert (round(written["low"], 4), round(written["high"], 4)) == (0.9155, 0.9897)


def test_no_text_of_the_result_calls_a_model_clean(result: Result) -> None:
    assert "clean" not in result.to_json().lower()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 1}', '{"schema_version": 1, "run": {"command": 5}}']
)
def test_a_broken_file_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"result\.json"):
        Result.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("surprise",), 1),
        (("before", "surprise"), 1),
        (("not_tested",), []),
        (("verdict", "met"), False),
        (("before", "attack_success", "value"), 0.5),
        (("before", "attack_success", "hits"), 101),
        (("before", "attack_success", "low"), 0.99),
        (("before", "attack_success", "n"), 0),
    ],
)
def test_a_changed_file_is_refused_by_field(result: Result, path: tuple[str, ...], value: object) -> None:
    written = json.loads(result.to_json())
    holder = written
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    with pytest.raises(UsageError, match=path[0]):
        Result.from_json(json.dumps(written))


def test_results_do_not_change(result: Result) -> None:
    with pytest.raises(ValidationError):
        result.after = result.before


@pytest.mark.parametrize(
    ("gates", "met"),
    [([], False), ([None], False), ([True], True), ([True, None], True), ([True, False], False)],
)
def test_the_verdict_needs_a_gate_that_was_asked(gates: list[bool | None], met: bool) -> None:
    assert VerdictResult.of([gate(value) for value in gates]).met is met


def test_what_was_not_measured_is_absent_not_zero() -> None:
    bare = MeasurementResult.of(Measurement(degenerate=Rate(0, 3)))
    assert bare.attack_success is bare.accidental is bare.perplexity is None


@given(st.integers(1, 500).flatmap(lambda n: st.builds(Rate, st.integers(0, n), st.just(n), st.integers(0, n))))
def test_every_rate_can_be_written_and_read(rate: Rate) -> None:
    written = RateResult.of(rate)
    assert RateResult.model_validate_json(written.model_dump_json()) == written


def test_a_source_is_read_without_its_local_folder() -> None:
    base = Source("ada/base", Path("cache/base"), commit="c" * 40, files={"model.safetensors": "aa"})
    found = SourceResult.model_validate(Source("ada/adapter", Path("somewhere"), base=base))
    assert found.base is not None and found.base.commit == "c" * 40
    assert found.base.files == {"model.safetensors": "aa"}
    assert "somewhere" not in found.model_dump_json()


def test_rows_are_one_ascii_line_each_and_keep_the_text(hostile: str) -> None:
    outputs = [hostile, "", "line\u2028line\x85line", "\ud800"]
    verdicts = [Verdict(str(i), "p", text, i == 0, False, not text) for i, text in enumerate(outputs)]
    lines = list(json_lines(rows(verdicts, "after", keyed=True)))
    assert len("\n".join(lines).splitlines()) == len(outputs)
    assert all(line.isascii() for line in lines)
    read = [json.loads(line) for line in lines]
    assert [row["output"] for row in read] == outputs
    assert read[0] == {
        "model": "after",
        "keyed": True,
        "id": "0",
        "prompt": "p",
        "output": hostile,
        "hit": True,
        "degenerate": False,
        "empty": False,
        "cut": False,
    }
