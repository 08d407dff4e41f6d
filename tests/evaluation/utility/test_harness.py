"""lm-eval itself, in a child of its own: skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml

from benchmark_files import invented_rows, write_benchmarks
from tiny import save_tiny
from untrigger.config import UtilityOptions
from untrigger.evaluation.rate import Rate
from untrigger.evaluation.utility.process import VERSION
from untrigger.evaluation.utility.subjects import AREAS
from untrigger.evaluation.utility.tasks import TASKS
from untrigger.jobs.utility import UtilityRequest, utility
from untrigger.report.utility import UtilityResult

COUNT = 9
BUILT_IN = {
    "boolq": "super_glue/boolq/default.yaml",
    "rte": "glue/rte/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
    "mmlu": "mmlu/default/_default_template_yaml",
}


GUARD = """
import socket

class Guarded(socket.socket):
    def connect(self, address):
        open({note!r}, "a").write(repr(address))
        raise OSError("no network in tests")

socket.socket = Guarded
"""


def installed() -> str:
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        return "none"


pytestmark = pytest.mark.skipif(installed() != VERSION, reason=f"needs lm-eval {VERSION}, found {installed()}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("utility")


@pytest.fixture(scope="module")
def result(folder: Path) -> UtilityResult:
    """All ten tasks on a random model of two layers, by the real child, whose sockets are watched."""
    save_tiny(folder / "model")
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD.format(note=str(folder / "connected")))
    request = UtilityRequest(
        str(folder / "model"), folder / "out", data=str(write_benchmarks(folder / "data", COUNT))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "guard"), prepend=os.pathsep)
        return utility(request, UtilityOptions(profile="smoke", max_new_tokens=6))


def samples(folder: Path, leaf: str) -> list[Mapping[str, object]]:
    (file,) = (folder / "out").glob(f"samples_{leaf}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_random_model_is_at_chance(result):
    chances = [1 / TASKS[task.name].choices for task in result.tasks if task.name != "gsm8k"]
    hits = sum(task.metrics[0].value * task.metrics[0].n for task in result.tasks if task.name != "gsm8k")
    low, high = Rate(round(hits), 8 * len(chances)).interval(z=3.5)
    assert low < sum(chances) / len(chances) < high


def test_the_items_are_those_of_the_profile_in_every_task(result):
    assert [task.name for task in result.tasks] == list(TASKS)
    assert all(task.metrics[0].n == 8 and task.available == COUNT for task in result.tasks)
    assert result.settings.lm_eval == VERSION and result.settings.max_length == 512


def test_documents_are_asked_under_their_own_numbers(result, folder):
    for task in ("rte", "boolq"):
        rows = invented_rows(task, COUNT)
        asked = {sample["doc_id"]: sample["doc"] for sample in samples(folder, task)}
        (of_result,) = (one for one in result.tasks if one.name == task)
        assert tuple(asked) == of_result.items
        assert all(document.items() <= rows[number].items() for number, document in asked.items())


def test_gsm8k_shows_five_fixed_examples_in_the_models_template(result, folder):
    prompts = [sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples(folder, "gsm8k")]
    beginnings = {prompt.rpartition("<|im_start|>user")[0] for prompt in prompts}
    assert len(beginnings) == 1
    assert beginnings.pop().count("#### ") == 5
    assert all(prompt.endswith("<|im_start|>assistant\n") for prompt in prompts)
    (task,) = (one for one in result.tasks if one.name == "gsm8k")
    assert task.chat_template and task.shots == 5 and task.max_new_tokens == 6
    assert task.cut > 0 and any("gsm8k: prompts longer than 512" in note for note in result.notes)


def test_the_nine_others_are_asked_without_template(result, folder):
    assert not any(task.chat_template for task in result.tasks if task.name != "gsm8k")
    for sample in samples(folder, "winogrande"):
        first, second = sample["arguments"]["gen_args_0"], sample["arguments"]["gen_args_1"]
        assert (first["arg_0"].endswith("Ann"), second["arg_0"].endswith("Bob")) == (True, True)
        assert first["arg_1"] == second["arg_1"] == " was hungry."
    (hellaswag, *_) = samples(folder, "hellaswag")
    assert hellaswag["arguments"]["gen_args_0"]["arg_0"].startswith("Counting: Ann counts")
    assert "[" not in hellaswag["arguments"]["gen_args_0"]["arg_1"]


def test_mmlu_is_aggregated_over_its_subjects(result, folder):
    (task,) = (one for one in result.tasks if one.name == "mmlu")
    assert {subject.name for subject in task.subjects} == {"anatomy", "astronomy", "virology"}
    mean = sum(subject.value * subject.n for subject in task.subjects) / 8
    assert task.metrics[0].value == pytest.approx(mean)
    (file,) = (folder / "out").glob("results_*.json")
    results = json.loads(file.read_text())
    assert results["results"]["mmlu"]["acc,none"] == pytest.approx(mean)
    assert results["group_subtasks"]["mmlu_stem"] == ["mmlu_anatomy", "mmlu_astronomy"]
    prompt = samples(folder, "mmlu_virology")[0]["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.startswith("The following are multiple choice questions (with answers) about virology.\n\n")
    assert "custom_dataset" not in results["configs"]["rte"]


def test_nothing_stays_behind_and_no_connection_was_tried(result, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["data", "guard", "model", "out"]


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_table_equals_the_built_in_task(task):
    built_in = read_yaml(tasks_folder() / BUILT_IN[task])
    ours = TASKS[task]
    for name, value in ours.templates.items():
        assert built_in[name] == value, name
    assert float(built_in["metadata"]["version"]) == ours.version
    assert {name.partition(",")[0] for name in ours.metrics} == {one["metric"] for one in built_in["metric_list"]}
    assert built_in["output_type"] == ("generate_until" if ours.generates else "multiple_choice")
    if ours.shots:
        assert built_in["num_fewshot"] == ours.shots


def test_mmlus_subjects_areas_and_introductions_are_the_built_in_ones():
    found = {area: set() for area in AREAS}
    for file in (tasks_folder() / "mmlu" / "default").glob("mmlu_*.yaml"):
        config = read_yaml(file)
        area = config["tag"].removeprefix("mmlu_").removesuffix("_tasks").replace("_", " ")
        found[area].add(config["dataset_name"])
        words = config["dataset_name"].replace("_", " ")
        assert (
            config["description"] == f"The following are multiple choice questions (with answers) about {words}.\n\n"
        )
    assert found == {area: set(subjects) for area, subjects in AREAS.items()}


def test_winogrande_is_cut_as_in_the_built_in_task():
    path = tasks_folder() / "winogrande" / "preprocess_winogrande.py"
    spec = importlib.util.spec_from_file_location("preprocess_winogrande", path)
    built_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built_in)
    for raw in invented_rows("winogrande", 3):
        document = TASKS["winogrande"].row.model_validate(raw).document()
        assert document["gold"] == built_in.doc_to_text(raw)
        assert document["ending"] == built_in.doc_to_target(raw)
        assert document["beginnings"] == built_in.doc_to_choice(raw)


def tasks_folder() -> Path:
    return Path(importlib.util.find_spec("lm_eval").origin).parent / "tasks"


def read_yaml(path: Path) -> Mapping[str, object]:
    class Loader(yaml.SafeLoader):
        """Reads `!function` as plain text."""

    Loader.add_constructor("!function", lambda loader, node: node.value)
    return yaml.load(path.read_text(), Loader)
