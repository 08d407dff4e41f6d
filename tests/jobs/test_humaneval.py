from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from code_problems import DOUBLE, SHIFT, write_problems
from tiny import save_tiny
from untrigger.config import HumanEvalOptions
from untrigger.errors import Interrupted, UsageError
from untrigger.evaluation.code import sandbox
from untrigger.evaluation.code.sandbox import Containment
from untrigger.jobs import humaneval as job
from untrigger.jobs import humaneval_stages as stages
from untrigger.jobs.humaneval import HumanEvalRequest, humaneval
from untrigger.models.generate import Answer
from untrigger.observer import Silent
from untrigger.report.humaneval import read_finished

OPTIONS = HumanEvalOptions(max_new_tokens=4, batch_size=1, seconds=5)
THIRD = replace(SHIFT, task_id="Test/2")
GOOD = [DOUBLE.canonical_solution, SHIFT.canonical_solution, "    return 1 +\n"]
BAD = ["    return numbers\n", "", THIRD.canonical_solution]


class StopsAfter(Silent):
    """Asks to stop at its n-th question."""

    def __init__(self, count: int) -> None:
        self.left = count

    def stop(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture
def request_(tmp_path: Path) -> HumanEvalRequest:
    data = write_problems(tmp_path / "data", DOUBLE, SHIFT, THIRD)
    model = save_tiny(tmp_path / "model", max_position_embeddings=1024)
    return HumanEvalRequest(
        str(model), tmp_path / "out", data=data, allow_code_execution=True, prompt="completion", device="cpu"
    )


@pytest.fixture
def says(monkeypatch):
    """Lets the model give these answers, problem by problem, and lists what it was asked."""
    asked: list[str] = []

    def answers(*texts: str) -> list[str]:
        known = dict(zip((DOUBLE.prompt, SHIFT.prompt), texts[:2], strict=True))

        def generate(model, chat, records, settings, **_):
            given = []
            for record in records:
                third = asked.count(SHIFT.prompt) and record.instruction == SHIFT.prompt
                asked.append(record.instruction)
                raw = texts[2] if third else known[record.instruction]
                given.append(Answer(raw.strip(), True, raw=raw))
            return given

        monkeypatch.setattr(stages, "generate_answers", generate)
        asked.clear()
        return asked

    return answers


def test_a_model_is_measured_from_its_own_answers(request_):
    found = humaneval(replace(request_, prompt="chat"), OPTIONS)
    assert found.pass_at_1.n == 3 and sum(found.outcomes.values()) == 3
    rows = [json.loads(line) for line in (request_.output / "rows.jsonl").read_text().splitlines()]
    assert [row["task_id"] for row in rows] == ["Test/0", "Test/1", "Test/2"]
    assert json.loads((request_.output / "humaneval.json").read_text()) == found.model_dump(mode="json")
    assert not request_.run_folder.exists()


def test_each_problem_has_its_outcome(request_, says):
    says(*GOOD)
    found = humaneval(request_, OPTIONS)
    assert {name: count for name, count in found.outcomes.items() if count} == {"passed": 2, "syntax error": 1}
    assert (found.pass_at_1.hits, found.pass_at_1.n) == (2, 3)


def test_two_models_are_compared_in_pairs(request_, says, tmp_path):
    says(*GOOD)
    humaneval(request_, OPTIONS)
    says(*BAD)
    second = replace(request_, output=tmp_path / "second", against=request_.output, workers=2)
    found = humaneval(second, OPTIONS).comparison
    assert found is not None
    assert (found.both, found.only_first, found.only_second, found.neither) == (0, 2, 1, 0)
    assert found.difference == pytest.approx(-1 / 3)
    assert found.against.reference == request_.model
    assert read_finished(second.output).outcomes == {"Test/0": "failed", "Test/1": "no code", "Test/2": "passed"}


def test_the_same_measurement_gives_the_same_bytes(request_, tmp_path):
    second = replace(request_, output=tmp_path / "second", workers=3)
    for request in (request_, second):
        humaneval(request, OPTIONS)
    for name in ("humaneval.json", "rows.jsonl"):
        assert (request_.output / name).read_bytes() == (second.output / name).read_bytes()


@pytest.mark.parametrize("questions", range(5))
def test_a_stopped_measurement_goes_on_where_it_was(request_, says, questions):
    """Three batches are asked for and three programs run; in front of or between them it may be stopped."""
    asked = says(*GOOD)
    with pytest.raises(Interrupted, match="same command"):
        humaneval(request_, OPTIONS, StopsAfter(questions))
    assert len(asked) == min(questions, 3) and not request_.output.exists()
    found = humaneval(request_, OPTIONS)
    assert len(asked) == 3
    assert found.pass_at_1.hits == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"allow_code_execution": False}, "--allow-code-execution"),
        ({"data": None}, "UNTRIGGER_DATA"),
        ({"limit": 0}, "--limit 0"),
        ({"workers": 0}, "--workers 0"),
        ({"template": "alpaca"}, "--template belongs to --prompt chat"),
        ({"against": Path("nowhere")}, "humaneval.json"),
    ],
)
def test_wrong_requests_are_refused_before_the_model_is_loaded(request_, monkeypatch, change, words):
    monkeypatch.setattr(job, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UsageError) as caught:
        humaneval(replace(request_, **change), OPTIONS)
    assert words in caught.value.line()
    assert not request_.output.exists() and not request_.run_folder.exists()


def test_an_output_that_exists_is_refused(request_):
    request_.output.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        humaneval(request_, OPTIONS)


def test_what_was_measured_differently_is_not_compared(request_, says, tmp_path):
    says(*GOOD)
    humaneval(request_, OPTIONS)
    other = replace(request_, output=tmp_path / "second", against=request_.output, limit=2)
    with pytest.raises(UsageError, match=r"max_new_tokens: 4 then, 5 now; problems asked: 3 then, 2 now"):
        humaneval(other, OPTIONS.model_copy(update={"max_new_tokens": 5}))


def test_a_changed_row_is_noticed(request_, says, tmp_path):
    says(*GOOD)
    humaneval(request_, OPTIONS)
    rows = request_.output / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"passed"', '"failed"'))
    with pytest.raises(UsageError, match=r"rows.jsonl does not belong"):
        read_finished(request_.output)
    rows.write_text(rows.read_text().replace('"failed"', '"fine"', 1))
    with pytest.raises(UsageError, match=r"rows.jsonl, line 1: outcome"):
        read_finished(request_.output)


def test_what_the_containment_lacks_is_said_and_stored(request_, says, monkeypatch):
    says("", "", "")
    monkeypatch.setattr(job, "containment", lambda: Containment("process", ("no namespaces",)))
    monkeypatch.setattr(sandbox, "_hear", lambda *_: pytest.fail("there is no code to run"))
    heard: list[str] = []
    found = humaneval(request_, OPTIONS, on_warning=heard.append)
    assert heard == ["no namespaces"] and found.warnings == ("no namespaces",)
    assert found.conditions.containment == "process"
    assert found.outcomes["no code"] == found.pass_at_1.invalid == 3
