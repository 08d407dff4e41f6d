from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import pytest

from jobs_options import SMALL
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import BudgetOptions, CompareOptions, PurifyOptions, RelearningOptions
from untrigger.defences import registry
from untrigger.defences.interface import Defence
from untrigger.defences.vaccine import signature_stage
from untrigger.errors import Diverged, Interrupted, UsageError
from untrigger.jobs.compare import compare
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.report.comparison import ComparisonResult

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RELEARNING = RelearningOptions(clean_records=2, poisoned_records=1)
OPTIONS = CompareOptions(defences=("vaccine,finetune",), relearning=RELEARNING)
TREATMENT = merged(SMALL, PurifyOptions(budget=BudgetOptions(records=4, epochs=1, batch_size=2)))


class Stages(Silent):
    """Remembers which stages were worked on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun: list[str] = []

    def training(self, label, progress):
        if progress.step == 1:
            self.begun.append(label)

    def stage(self, name, finished):
        if not finished:
            self.done.append(name)


class StopInTraining(Silent):
    def stop(self):
        return True


@pytest.fixture
def request_(tmp_path, records) -> Request:
    """A tiny adapter with a backdoor to look for."""
    base = save_tiny(tmp_path / "base")
    suspect = save_tiny_adapter(tmp_path / "suspect", base)
    return Request(
        str(suspect), tmp_path / "out", base=str(base), data=records, attack="badnet", behaviour="sentiment"
    )


def test_every_defence_has_a_row_with_its_cost(tmp_path, request_):
    result = compare(request_, OPTIONS, TREATMENT)
    suspect, vaccine, finetune = result.rows()
    assert (suspect.defence, vaccine.defence, finetune.defence) == ("(suspect)", "vaccine", "finetune")
    assert vaccine.tokens_trained > finetune.tokens_trained > 0 == suspect.tokens_trained
    assert all(row.relearned_clean is not None and row.seconds > 0 for row in (vaccine, finetune))
    assert ComparisonResult.from_json((tmp_path / "out" / "comparison.json").read_text()) == result
    with (tmp_path / "out" / "comparison.csv").open() as file:
        assert [row["defence"] for row in csv.DictReader(file)] == ["(suspect)", "vaccine", "finetune"]
    assert (tmp_path / "out" / "comparison.svg").read_text().lstrip().startswith("<?xml")


def test_no_weights_of_a_defence_are_kept(tmp_path, request_):
    compare(request_, OPTIONS, TREATMENT)
    kept = {path.name for path in (tmp_path / "out" / "cell-finetune").rglob("*") if path.is_file()}
    assert kept == {"cell.json", "rows.jsonl", "cost.json", "COMPLETE"}


def test_a_defence_can_be_added_later_without_running_the_others_again(request_):
    first = compare(request_, OPTIONS, TREATMENT)
    more = OPTIONS.model_copy(update={"defences": ("vaccine", "finetune", "finetune-1e-3")})
    seen = Stages()
    second = compare(request_, more, TREATMENT, seen)
    assert second.cells[:2] == first.cells
    assert [name for name in seen.done if name.startswith("cell-")] == ["cell-finetune-1e-3"]


def test_the_table_is_there_after_every_defence(tmp_path, request_):
    seen = []

    def on_cell(found: ComparisonResult) -> None:
        seen.append([cell.defence for cell in found.cells])
        assert ComparisonResult.from_json((tmp_path / "out" / "comparison.json").read_text()) == found

    compare(request_, OPTIONS, TREATMENT, drawn=False, on_cell=on_cell)
    assert seen == [["vaccine"], ["vaccine", "finetune"]]
    assert not (tmp_path / "out" / "comparison.svg").exists()


def test_stored_defences_of_an_experiment_are_joined_with_new_ones(tmp_path, monkeypatch, request_):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    joined = importlib.import_module("rivals").joined
    first = compare(request_, OPTIONS, TREATMENT)
    other = Request(**{**vars(request_), "output": tmp_path / "other"})
    second = compare(other, OPTIONS.model_copy(update={"defences": ("finetune", "prune")}), TREATMENT)
    assert joined(None, first) is first
    both = joined(first, second)
    assert [cell.defence for cell in both.cells] == ["vaccine", "finetune", "prune"]
    assert both.cells[1:] == second.cells
    elsewhere = second.source.model_copy(update={"files": {"adapter_model.safetensors": "0" * 64}})
    with pytest.raises(UsageError, match="not the one of the stored results"):
        joined(first, second.model_copy(update={"source": elsewhere}))


def test_defences_with_the_same_pairs_share_them_and_count_them_all_the_same(tmp_path, request_):
    def compared(folder: str, *names: str):
        other, seen = Request(**{**vars(request_), "output": tmp_path / folder}), Stages()
        found = compare(other, CompareOptions(defences=names, relearning=RELEARNING), TREATMENT, seen)
        assert not list((tmp_path / folder).glob("pairs-*"))
        return found, seen

    together, seen = compared("together", "signature-only", "norm-only")
    assert seen.begun.count("pair 1 of 2 poisoned") == 1
    alone, _ = compared("alone", "norm-only")
    shared, own = together.cells[1], alone.cells[0]
    assert (shared.after, shared.tokens_trained) == (own.after, own.tokens_trained)


def test_pairs_that_begin_where_sentences_were_unlearned_are_their_own(tmp_path, request_):
    known = {"attack": "badnet", "behaviour": "sentiment", "data": request_.data}
    whole, seen = Request(request_.base, tmp_path / "whole", **known), Stages()
    compare(whole, CompareOptions(defences=("vaccine", "norm-only"), relearning=RELEARNING), TREATMENT, seen)
    assert seen.begun.count("pair 1 of 2 poisoned") == 2


def test_pairs_of_a_defence_that_fails_serve_the_others(monkeypatch, request_):
    def failing(subject, resources, options):
        signature_stage(subject, resources, options)
        raise Diverged("loss nan", todo="lower the rate")

    broken = Defence("broken", "fails", "control", failing, registry.DEFENCES[0].recipe, frozenset())
    monkeypatch.setattr(registry, "DEFENCES", (broken, *registry.DEFENCES))
    seen = Stages()
    result = compare(request_, CompareOptions(defences=("broken", "vaccine"), relearning=RELEARNING), TREATMENT, seen)
    assert list(result.failed) == ["broken"] and [cell.defence for cell in result.cells] == ["vaccine"]
    assert seen.begun.count("pair 1 of 2 poisoned") == 1


def test_an_interrupted_comparison_goes_on_and_ends_alike(tmp_path, request_):
    whole = compare(request_, OPTIONS, TREATMENT)
    other = Request(**{**vars(request_), "output": tmp_path / "other"})
    with pytest.raises(Interrupted):
        compare(other, OPTIONS, TREATMENT, StopInTraining())
    resumed = compare(other, OPTIONS, TREATMENT)
    assert [cell.after for cell in resumed.cells] == [cell.after for cell in whole.cells]
    assert [cell.relearning for cell in resumed.cells] == [cell.relearning for cell in whole.cells]


def test_a_defence_that_fails_stops_no_other(monkeypatch, request_):
    def failing(subject, resources, options):
        raise Diverged("loss nan", todo="lower the rate")

    broken = Defence("broken", "fails", "control", failing, registry.DEFENCES[0].recipe, frozenset())
    monkeypatch.setattr(registry, "DEFENCES", (broken, *registry.DEFENCES))
    result = compare(request_, CompareOptions(defences=("broken", "finetune"), relearning=RELEARNING), TREATMENT)
    assert [cell.defence for cell in result.cells] == ["finetune"]
    assert "loss nan" in result.failed["broken"]


def test_a_defence_for_another_setting_is_left_out_and_said(monkeypatch, tmp_path, request_):
    whole = Defence(
        "whole",
        "",
        "control",
        registry.DEFENCES[2].apply,
        registry.DEFENCES[2].recipe,
        frozenset(),
        settings=frozenset({"full"}),
    )
    monkeypatch.setattr(registry, "DEFENCES", (whole, *registry.DEFENCES))
    result = compare(request_, CompareOptions(defences=("whole", "finetune"), relearning=RELEARNING), TREATMENT)
    assert "adapter" in result.skipped["whole"]
    assert "whole" in (tmp_path / "out" / "comparison.md").read_text()


def test_a_defence_whose_package_is_missing_is_left_out_and_said(monkeypatch, request_):
    monkeypatch.setattr("untrigger.defences.int4.find_spec", lambda name: None)
    result = compare(request_, CompareOptions(defences=("int4", "prune"), relearning=RELEARNING), TREATMENT)
    assert "untrigger[quant]" in result.skipped["int4"]
    assert [(cell.defence, cell.output) for cell in result.cells] == [("prune", "full")]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"attack": None, "behaviour": None}, "known backdoor"),
        ({"base": None}, "base"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(tmp_path, request_, change, what):
    with pytest.raises(UsageError, match=what):
        compare(Request(**{**vars(request_), **change}), OPTIONS, TREATMENT)
    assert not (tmp_path / "out").exists()


def test_an_unknown_defence_is_named_with_the_known_ones(request_):
    with pytest.raises(UsageError, match="prayer"):
        compare(request_, CompareOptions(defences=("prayer",)), TREATMENT)


def test_too_few_records_for_re_learning_are_refused(request_):
    with pytest.raises(UsageError, match="re-learning"):
        compare(request_, CompareOptions(), TREATMENT)


def test_another_configuration_is_not_mixed_in(request_):
    compare(request_, OPTIONS, TREATMENT)
    with pytest.raises(UsageError, match="another configuration"):
        compare(request_, OPTIONS, merged(TREATMENT, PurifyOptions(budget=BudgetOptions(records=5))))


def test_the_table_is_one_object_of_strict_json(tmp_path, request_):
    compare(request_, OPTIONS, TREATMENT, drawn=False)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["schema_version"] == 1
    assert not (tmp_path / "out" / "comparison.svg").exists()
