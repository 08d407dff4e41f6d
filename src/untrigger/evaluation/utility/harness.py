"""lm-eval's side: task objects from our table, one evaluation, its results as text. Only the child imports this."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, DatasetDict, disable_progress_bars
from huggingface_hub import HfApi
from lm_eval import simple_evaluate
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.group import AggMetricConfig
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from untrigger.errors import UntriggerError
from untrigger.evaluation.utility.rows import Document
from untrigger.evaluation.utility.subjects import AREAS
from untrigger.evaluation.utility.tasks import MMLU, UtilityTask
from untrigger.models.forward import causal_model
from untrigger.models.subject import Subject

SEEDS: Mapping[str, int] = {
    "random_seed": 0,
    "numpy_random_seed": 1234,
    "torch_random_seed": 1234,
    "fewshot_random_seed": 1234,
}
"""lm-eval's own defaults, stated."""
GROUP_VERSION = 2  # of lm-eval's built-in group


@dataclass(frozen=True)
class Runnable:
    """A task, or a group of tasks, that lm-eval can run, and the size of each of its leaves."""

    top: Any
    sizes: dict[str, int]
    revision: str | None = None
    """Commit of the data set, if it came from the hub."""


class Counter:
    """Counts answers: lm-eval tells its cache hook of each."""

    def __init__(self, on_answer: Callable[[int], None]) -> None:
        self._answers, self._on_answer = 0, on_answer

    def add_partial(self, kind: str, request: object, answer: object) -> None:
        """One more answer."""
        self._answers += 1
        self._on_answer(self._answers)


def quieten() -> None:
    """Keep what matters in the log: no bars, no advice about each of 57 tasks."""
    disable_progress_bars()
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)


def wrapped(subject: Subject, batch_size: int, max_length: int) -> Any:
    """The model as lm-eval takes it.

    Raises:
        UntriggerError: wrapping tied weights that were apart, or the reverse.
    """
    before = _tied(subject)
    model = HFLM(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=batch_size, max_length=max_length)
    if _tied(subject) != before:
        raise UntriggerError("lm-eval changed which weights of the model are tied", why="it would be another model")
    return model


def local_task(task: UtilityTask, leaves: Mapping[str, Sequence[Document]], examples: Sequence[Document]) -> Runnable:
    """Our own task object over documents in memory; MMLU becomes lm-eval's group of groups."""
    sizes = {leaf: len(documents) for leaf, documents in leaves.items()}
    built = {leaf: _configured(task, leaf, documents, examples) for leaf, documents in leaves.items()}
    return Runnable(_mmlu(built) if task.name == MMLU else built[task.name], sizes)


def hub_task(task: UtilityTask) -> Runnable:
    """lm-eval's built-in task with its data set from the hub."""
    loaded = TaskManager().load([task.name])
    leaves = dict(sorted(loaded["tasks"].items()))
    top = loaded["groups"].get(task.name) or leaves[task.name]
    first = next(iter(leaves.values()))
    sizes = {leaf: len(built.eval_docs) for leaf, built in leaves.items()}
    return Runnable(top, sizes, HfApi().dataset_info(first.config.dataset_path).sha)


def evaluated(
    model: Any, runnable: Runnable, samples: dict[str, list[int]], chat: bool, new_tokens: int | None
) -> Any:
    """lm-eval's results, `samples` among them; leaves that `samples` does not name are left out."""
    top = _without_leaves(runnable.top, samples) if isinstance(runnable.top, Group) else runnable.top
    return simple_evaluate(
        model=model,
        tasks=[top],
        task_manager=TaskManager(include_defaults=False),
        samples=samples,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        gen_kwargs=None if new_tokens is None else {"max_gen_toks": new_tokens},
        log_samples=True,
        **SEEDS,
    )


def cut_prompts(model: Any, samples: Sequence[Mapping[str, Any]], new_tokens: int | None) -> int:
    """How many items have a prompt of which lm-eval cut off the beginning."""
    # A choice's last token is predicted, never read: one more than the length fits.
    limit = model.max_length + 1 if new_tokens is None else model.max_length - new_tokens
    return len({sample["doc_id"] for sample in samples if _longest(model, sample["arguments"]) > limit})


def results_text(results: Mapping[str, Any]) -> str:
    """Everything but the samples, as JSON."""
    kept = {name: value for name, value in results.items() if name != "samples"}
    for config in kept["configs"].values():
        config.pop("custom_dataset", None)  # the source text of a function of ours
    return json.dumps(kept, indent=2, default=handle_non_serializable, ensure_ascii=False) + "\n"


def sample_line(sample: Mapping[str, Any]) -> str:
    """A sample in lm-eval's own layout (its evaluation tracker's), as one line of JSON."""
    arguments = {
        f"gen_args_{number}": {f"arg_{place}": part for place, part in enumerate(request)}
        for number, request in enumerate(sample["arguments"])
    }
    texts = {name: _as_text(sample[name]) for name in ("resps", "filtered_resps")}
    row = {**sample, **texts, "arguments": arguments, "target": str(sample["target"])}
    return json.dumps(row, default=handle_non_serializable, ensure_ascii=False) + "\n"


def _configured(task: UtilityTask, leaf: str, documents: Sequence[Document], examples: Sequence[Document]) -> Any:
    splits = {"test": Dataset.from_list(list(documents))}
    if task.shots:
        splits["examples"] = Dataset.from_list(list(examples))
    fewshot = {"fewshot_split": "examples", "fewshot_config": {"sampler": "first_n"}} if task.shots else {}
    metrics = [
        {"metric": name.partition(",")[0], "aggregation": "mean", "higher_is_better": True} for name in task.metrics
    ]
    config = {
        "task": leaf,
        "custom_dataset": lambda **_: DatasetDict(splits),
        "dataset_path": task.file,
        "test_split": "test",
        "output_type": "generate_until" if task.generates else "multiple_choice",
        "num_fewshot": task.shots,
        "metric_list": metrics,
        "metadata": {"version": task.version},
        **_subject_settings(task, leaf),
        **fewshot,
        **json.loads(json.dumps(dict(task.templates))),  # a copy: lm-eval edits what it is given
    }
    return ConfigurableTask(config=config)


def _subject_settings(task: UtilityTask, leaf: str) -> dict[str, str]:
    if task.name != MMLU:
        return {}
    subject = leaf.removeprefix(f"{MMLU}_")
    words = subject.replace("_", " ")
    description = f"The following are multiple choice questions (with answers) about {words}.\n\n"
    return {"task_alias": subject, "description": description}


def _mmlu(leaves: Mapping[str, Any]) -> Any:
    top = _group(MMLU, MMLU)
    for area, subjects in AREAS.items():
        group = _group(f"{MMLU}_{area.replace(' ', '_')}", area)
        for subject in subjects:
            if f"{MMLU}_{subject}" in leaves:
                group.add(leaves[f"{MMLU}_{subject}"])
        if len(group):
            top.add(group)
    return top


def _group(name: str, alias: str) -> Any:
    weighted = [AggMetricConfig(metric="acc", weight_by_size=True)]
    return Group(name=name, alias=alias, aggregate_metric_list=weighted, metadata={"version": GROUP_VERSION})


def _without_leaves(group: Any, kept: Mapping[str, object]) -> Any:
    """The group without tasks that have no chosen item, and without groups that this leaves empty."""
    for child in list(group):
        if isinstance(child, Group):
            if not len(_without_leaves(child, kept)):
                group.pop(child.name)
        elif child.task_name not in kept:
            group.pop(child.task_name)
    return group


def _tied(subject: Subject) -> bool:
    model = causal_model(subject.model)
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight


def _longest(model: Any, requests: Sequence[Sequence[Any]]) -> int:
    """Tokens of the longest request: prompt and answer, or the prompt alone where the answer is generated."""
    texts = {"".join(part for part in request if isinstance(part, str)) for request in requests}
    return max(len(model.tok_encode(text)) for text in texts)


def _as_text(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return str(value)
