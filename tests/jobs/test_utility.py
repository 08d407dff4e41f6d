from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmark_files import invented_rows, write_benchmarks, write_rows
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import UtilityOptions
from untrigger.errors import OutOfMemory, UntriggerError, UsageError
from untrigger.evaluation.utility.process import evaluation
from untrigger.jobs import utility as job
from untrigger.jobs import utility_side
from untrigger.jobs.utility import UtilityRequest, utility
from untrigger.observer import Silent
from untrigger.report.utility import UtilityResult
from untrigger.runs import is_complete

STAND_IN = (sys.executable, str(Path(__file__).parents[1] / "stand_in_child.py"))
FEW = ("rte", "piqa", "mmlu")


class Stages(Silent):
    """Notes which stages were run and which were there already."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.taken: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, finished: bool) -> None:
        (self.taken if finished else self.run).append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lm-eval: a small program answers in its place."""
    monkeypatch.setattr(utility_side, "evaluation", partial(evaluation, program=STAND_IN))
    monkeypatch.setattr(job, "require_harness", lambda: "0.4.13")
    monkeypatch.delenv("UNTRIGGER_DATA", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_benchmarks(tmp_path / "data", 12)


def model(folder: Path, right: float, **settings: object) -> Path:
    """A model whose stand-in gives this share of right answers."""
    save_tiny(folder)
    (folder / "skill").write_text(json.dumps({"right": right, **settings}))
    return folder


def options(*tasks: str, **others: object) -> UtilityOptions:
    return UtilityOptions(tasks=tasks or FEW, **others)


def test_the_output_holds_every_figure_item_and_lm_evals_files(tmp_path, data):
    request = UtilityRequest(str(model(tmp_path / "m", 0.5)), tmp_path / "out", data=str(data))
    result = utility(request, UtilityOptions(profile="smoke"))
    assert is_complete(tmp_path / "out") and not request.run_folder.exists()
    assert UtilityResult.from_json((tmp_path / "out" / "utility.json").read_text()) == result
    assert [task.name for task in result.tasks][-2:] == ["gsm8k", "mmlu"]
    assert {average.name for average in result.averages} == {"avg8", "avg2", "avg10"}
    assert all(task.metrics[0].n == 8 and len(task.items) == 8 for task in result.tasks)
    assert set(result.settings.files) >= {"rte.jsonl", "hellaswag.jsonl.gz", "fewshot/gsm8k_train_first64.jsonl"}
    mmlu = result.tasks[-1]
    assert sum(subject.n for subject in mmlu.subjects) == 8
    assert any("boolq: prompts longer" in note for note in result.notes)
    assert any("holds 12 items, the official split 277" in note for note in result.notes)
    rows = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert len(rows) == 80
    (results,) = (tmp_path / "out").glob("results_*.json")
    whole = json.loads(results.read_text())
    assert set(whole["results"]) == {task.name for task in result.tasks}
    assert whole["config"]["model"] == str(tmp_path / "m") and whole["config"]["seed"] == 0
    date = results.stem.removeprefix("results_")
    assert (tmp_path / "out" / f"samples_mmlu_anatomy_{date}.jsonl").exists()


def test_the_same_call_again_returns_the_same_without_running(tmp_path, data):
    request = UtilityRequest(str(model(tmp_path / "m", 0.5)), tmp_path / "out", data=str(data))
    first, stages = utility(request, options()), Stages()
    assert utility(request, options(), stages) == first
    assert stages.run == stages.taken == []
    with pytest.raises(UsageError, match="another run"):
        utility(request, options("rte"))


def test_two_runs_write_the_same_bytes(tmp_path, data):
    named = str(model(tmp_path / "m", 0.5))
    for name in ("one", "two"):
        utility(UtilityRequest(named, tmp_path / name, data=str(data)), options())
    for file in ("utility.json", "items.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_killed_child_is_replaced_once(tmp_path, data):
    request = UtilityRequest(str(model(tmp_path / "m", 0.5, dies_after=1)), tmp_path / "out", data=str(data))
    stages = Stages()
    result = utility(request, options(), stages)
    (note,) = stages.notes
    assert "killed at piqa" in note and "another one is started" in note
    fresh = UtilityRequest(request.model, tmp_path / "fresh", data=str(data))
    assert utility(fresh, options()) == result


def test_finished_tasks_survive_killed_children(tmp_path, data):
    killed_twice = model(tmp_path / "m", 0.5, dies_after=1, deaths=2)
    request = UtilityRequest(str(killed_twice), tmp_path / "out", data=str(data))
    with pytest.raises(OutOfMemory, match="killed at mmlu") as killed:
        utility(request, options())
    assert "the last thing it said" in killed.value.why
    assert not request.output.exists()
    stages = Stages()
    result = utility(request, options(), stages)
    assert (stages.taken, stages.run) == (["rte", "piqa"], ["mmlu"])
    fresh = UtilityRequest(request.model, tmp_path / "fresh", data=str(data))
    assert utility(fresh, options()) == result


def test_a_run_is_resumed_only_with_the_same_data(tmp_path, data):
    killed_twice = model(tmp_path / "m", 0.5, dies_after=1, deaths=2)
    request = UtilityRequest(str(killed_twice), tmp_path / "out", data=str(data))
    with pytest.raises(OutOfMemory):
        utility(request, options())
    write_rows(data / "benchmarks" / "piqa.jsonl", invented_rows("piqa", 11))
    with pytest.raises(UsageError, match="another configuration"):
        utility(request, options())


def test_a_model_against_another(tmp_path, data):
    good, poor = str(model(tmp_path / "good", 0.9)), str(model(tmp_path / "poor", 0.2))
    result = utility(UtilityRequest(poor, tmp_path / "out", against=good, data=str(data)), options())
    comparison = result.comparison
    assert comparison is not None and comparison.against.reference == good
    assert [task.task for task in comparison.tasks] == list(FEW)
    assert all(task.only_after == 0 and task.only_before > 0 for task in comparison.tasks)
    assert comparison.averages[0].difference.estimate < -0.5 and not comparison.verdict.met
    other = UtilityResult.from_json((tmp_path / "out" / "against" / "utility.json").read_text())
    assert other.comparison is None and other.model.reference == good


def test_a_model_against_an_earlier_result_gives_the_same_comparison(tmp_path, data):
    good, poor = str(model(tmp_path / "good", 0.9)), str(model(tmp_path / "poor", 0.2))
    utility(UtilityRequest(good, tmp_path / "earlier", data=str(data)), options())
    both = [
        utility(UtilityRequest(poor, tmp_path / name, against=against, data=str(data)), options())
        for name, against in (("model", good), ("folder", str(tmp_path / "earlier")))
    ]
    assert both[0] == both[1]


def test_within_a_wide_budget(tmp_path, data):
    same = [str(model(tmp_path / name, 0.5)) for name in ("one", "two")]
    request = UtilityRequest(same[0], tmp_path / "out", against=same[1], data=str(data))
    comparison = utility(request, options(budget=60.0)).comparison
    assert comparison is not None and comparison.verdict.met
    assert all(task.p == task.p_holm == 1.0 for task in comparison.tasks)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"batch_size": 4}, "batch_size: 8 and 4"),
        ({"max_length": 64}, "max_length"),
        ({"template": "none"}, "template"),
        ({"tasks": ("boolq",)}, "boolq is missing"),
        ({"profile": "smoke"}, "same items"),
    ],
)
def test_results_of_other_settings_are_not_compared(tmp_path, data, changed, word):
    named = str(model(tmp_path / "m", 0.5))
    utility(UtilityRequest(named, tmp_path / "earlier", data=str(data)), options())
    request = UtilityRequest(named, tmp_path / "out", against=str(tmp_path / "earlier"), data=str(data))
    with pytest.raises(UsageError) as refused:
        utility(request, UtilityOptions(**({"tasks": FEW} | changed)))
    assert word in refused.value.line()
    assert not request.output.exists()


def test_an_item_that_changed_is_not_compared(tmp_path, data):
    named = str(model(tmp_path / "m", 0.5))
    utility(UtilityRequest(named, tmp_path / "earlier", data=str(data)), options())
    rows = invented_rows("piqa", 12)
    rows[3]["goal"] = "Eat something else"
    write_rows(data / "benchmarks" / "piqa.jsonl", rows)
    request = UtilityRequest(named, tmp_path / "out", against=str(tmp_path / "earlier"), data=str(data))
    with pytest.raises(UsageError, match="piqa: item 3"):
        utility(request, options())


def test_an_earlier_result_that_was_touched_is_refused(tmp_path, data):
    named = str(model(tmp_path / "m", 0.5))
    utility(UtilityRequest(named, tmp_path / "earlier", data=str(data)), options())
    items = tmp_path / "earlier" / "items.jsonl"
    request = UtilityRequest(named, tmp_path / "out", against=str(tmp_path / "earlier"), data=str(data))
    items.write_text(items.read_text().replace("1.0", "0.0"))
    with pytest.raises(UsageError, match=r"items\.jsonl is not the file"):
        utility(request, options())
    items.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        utility(request, options())
    (tmp_path / "earlier" / "utility.json").write_text('{"schema_version": 2}')
    with pytest.raises(UsageError, match=r"utility\.json: schema_version"):
        utility(request, options())


def test_an_adapter_takes_the_base_on_both_sides(tmp_path, data):
    base = model(tmp_path / "base", 0.5)
    adapters = [save_tiny_adapter(tmp_path / name, base, seed=seed) for seed, name in enumerate(("one", "two"))]
    for adapter in adapters:
        (adapter / "skill").write_text('{"right": 0.5}')
    request = UtilityRequest(
        str(adapters[0]), tmp_path / "out", base=str(base), against=str(adapters[1]), data=str(data)
    )
    result = utility(request, options("rte"))
    assert result.model.base is not None and "adapter_model.safetensors" in result.model.files
    assert result.comparison is not None and result.comparison.against.base is not None
    against_base = UtilityRequest(
        str(adapters[0]), tmp_path / "out2", base=str(base), against=str(base), data=str(data)
    )
    compared = utility(against_base, options("rte")).comparison
    assert compared is not None and compared.against.base is None


def test_data_comes_from_the_flag_else_from_the_environment(tmp_path, data, monkeypatch):
    named = str(model(tmp_path / "m", 0.5))
    with pytest.raises(UsageError, match="no benchmark data") as refused:
        utility(UtilityRequest(named, tmp_path / "out"), options())
    assert "UNTRIGGER_DATA" in refused.value.todo
    monkeypatch.setenv("UNTRIGGER_DATA", str(data))
    assert utility(UtilityRequest(named, tmp_path / "out"), options("rte")).settings.data_source == "local"


def test_the_full_profile_wants_every_official_item(tmp_path, data):
    request = UtilityRequest(str(model(tmp_path / "m", 0.5)), tmp_path / "out", data=str(data))
    with pytest.raises(UsageError, match="12 items, not 277"):
        utility(request, options("rte", profile="full"))
    write_rows(data / "benchmarks" / "rte.jsonl", invented_rows("rte", 277))
    (task,) = utility(request, options("rte", profile="full")).tasks
    assert (task.items, task.metrics[0].n, task.metrics[0].interval) == ("all", 277, "wilson")


def test_another_folder_is_never_written_into(tmp_path, data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    request = UtilityRequest(str(model(tmp_path / "m", 0.5)), tmp_path / "out", data=str(data))
    with pytest.raises(UsageError, match="exists already"):
        utility(request, options())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_samples_that_contradict_the_reported_mean_fail_loudly(tmp_path, data):
    request = UtilityRequest(str(model(tmp_path / "m", 0.5)), tmp_path / "out", data=str(data), keep_run=True)
    utility(request, options("rte"))
    stage = request.run_folder / "model" / "rte"
    facts = utility_side.Facts.model_validate_json((stage / "facts.json").read_text())
    items = utility_side.read_items(utility_side.TASKS["rte"], facts, stage)
    (stage / "results.json").write_text(json.dumps({"results": {"rte": {"acc,none": 0.123}}}))
    metrics = [utility_side.measured(items, "acc,none")]
    with pytest.raises(UntriggerError, match=r"0\.123"):
        utility_side.require_equal(utility_side.TASKS["rte"], metrics, stage)
