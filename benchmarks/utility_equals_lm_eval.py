"""Whether `untrigger utility` gives lm-eval's own scores: the same tasks by another path, compared to the last digit.

    python benchmarks/utility_equals_lm_eval.py MODEL_FOLDER --data FOLDER [--tasks openbookqa,rte] [--profile smoke]

Ours loads the model by our loader and builds task objects over checked documents. The other path lets lm-eval load
the model by name, and its built-in YAML read the same files through the json loader of `datasets`. MODEL_FOLDER is a
plain folder that transformers can load. The bar: every metric equal, and every item's likelihoods.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

YAMLS = {
    "openbookqa": "openbookqa/openbookqa.yaml",
    "rte": "glue/rte/default.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "piqa": "piqa/piqa.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
}


def ours(model: str, data: str, tasks: list[str], profile: str, batch_size: int, folder: Path) -> dict[str, Any]:
    """Metric by task, and each item's answers, by our command's function."""
    from untrigger.config import UtilityOptions
    from untrigger.jobs.utility import UtilityRequest, utility

    options = UtilityOptions(profile=profile, tasks=tuple(tasks), batch_size=batch_size)
    request = UtilityRequest(model, folder / "ours", data=data, device="cpu", dtype="float32")
    result = utility(request, options)
    answers = {}
    for task in tasks:
        (file,) = (folder / "ours").glob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        answers[task] = {row["doc_id"]: row["resps"] for row in rows}
    metrics = {task.name: {metric.name: metric.value for metric in task.metrics} for task in result.tasks}
    return {"metrics": metrics, "answers": answers}


def theirs(model: str, data: str, items: dict[str, list[int]], batch_size: int, folder: Path) -> dict[str, Any]:
    """The same by lm-eval alone: `model="hf"` and its built-in YAML over the files."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    built_in = Path(lm_eval.__file__).parent / "tasks"
    (folder / "yaml").mkdir()
    for task in items:
        suffix = ".jsonl.gz" if task == "hellaswag" else ".jsonl"
        text = (
            f"include: {built_in / YAMLS[task]}\ntask: local_{task}\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs:\n  data_files:\n    test: {Path(data).absolute() / 'benchmarks' / (task + suffix)}\n"
            "training_split: null\nvalidation_split: null\ntest_split: test\n"
        )
        (folder / "yaml" / f"{task}.yaml").write_text(text)
    # A call a task, as we do: lm-eval pads the requests of all tasks of a call together, which moves the last digits.
    manager = TaskManager(include_path=str(folder / "yaml"), include_defaults=False)
    metrics, answers = {}, {}
    for task, numbers in items.items():
        results = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": model, "dtype": "float32", "max_length": 2048},
            device="cpu",
            batch_size=batch_size,
            tasks=[f"local_{task}"],
            samples={f"local_{task}": numbers},
            task_manager=manager,
        )
        metrics[task] = results["results"][f"local_{task}"]
        answers[task] = {sample["doc_id"]: _texts(sample["resps"]) for sample in results["samples"][f"local_{task}"]}
    return {"metrics": metrics, "answers": answers}


def _texts(responses: list[Any]) -> list[Any]:
    return [[[str(part) for part in answer] for answer in request] for request in responses]


def main() -> int:
    """Run both, print both."""
    parser = argparse.ArgumentParser(description="Compare untrigger utility with lm-eval.")
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default="openbookqa,rte")
    parser.add_argument("--profile", default="full")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    tasks = options.tasks.split(",")
    equal = True
    with tempfile.TemporaryDirectory() as name:
        os.environ["HF_DATASETS_CACHE"] = f"{name}/cache"
        start = time.perf_counter()
        first = ours(options.model, options.data, tasks, options.profile, options.batch_size, Path(name))
        middle = time.perf_counter()
        items = {task: sorted(first["answers"][task]) for task in tasks}
        second = theirs(options.model, options.data, items, options.batch_size, Path(name))
        print(f"seconds: untrigger {middle - start:.0f}, lm-eval {time.perf_counter() - middle:.0f}")
        for task in tasks:
            for metric, value in first["metrics"][task].items():
                other = second["metrics"][task][metric]
                equal &= value == other
                print(f"{task} {metric} (n={len(items[task])}): untrigger {value!r}, lm-eval {other!r}")
            same = sum(first["answers"][task][i] == second["answers"][task][i] for i in items[task])
            equal &= same == len(items[task])
            print(f"{task}: {same} of {len(items[task])} items with equal log-likelihoods")
    print("equal" if equal else "NOT EQUAL")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
