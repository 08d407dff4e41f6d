"""One model's figures as a result: tasks, averages, settings, and what they do not show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from untrigger import __version__
from untrigger.config import UtilityOptions
from untrigger.evaluation.utility.averages import averages
from untrigger.evaluation.utility.files import BenchmarkFile, incomplete
from untrigger.evaluation.utility.messages import Facts
from untrigger.evaluation.utility.profiles import by_leaf
from untrigger.evaluation.utility.scores import Item, Metric, measured
from untrigger.evaluation.utility.tasks import MMLU, TASKS, wants_template
from untrigger.models.subject import Source
from untrigger.report.parts import SourceResult
from untrigger.report.summary import environment_result
from untrigger.report.utility import (
    AverageResult,
    MetricResult,
    SettingsResult,
    SubjectResult,
    TaskResult,
    UtilityResult,
)

_SIZE_NOTES = {
    "smoke": ("8 items a task show that it runs, and nothing about the model",),
    "quick": ("200 items a task: half-widths of about 7 points; for a quick look only",),
    "standard": ("1000 items a task: half-widths of about 3 points",),
    "full": (),
}


@dataclass(frozen=True)
class Data:
    """Where the benchmarks come from: a folder with its files, or the hub (None)."""

    folder: Path | None
    files: Mapping[str, BenchmarkFile]

    def hashes(self) -> dict[str, str]:
        """File name -> SHA-256."""
        return {name: file.sha256 for name, file in self.files.items()}


@dataclass(frozen=True)
class Plan:
    """What both models of a comparison are run with."""

    options: UtilityOptions
    tasks: tuple[str, ...]
    data: Data
    device: str
    dtype: str
    lm_eval: str
    accept_template: bool = False
    allow_nonfinite: bool = False


def utility_result(
    source: Source,
    plan: Plan,
    facts: Mapping[str, Facts],
    items: Mapping[str, Sequence[Item]],
    metrics: Mapping[str, Sequence[Metric]],
) -> UtilityResult:
    """What `utility.json` holds, without a comparison."""
    device, dtype, max_length = next((one.device, one.dtype, one.max_length) for one in facts.values())
    return UtilityResult(
        version=__version__,
        model=SourceResult.model_validate(source),
        settings=SettingsResult(
            profile=plan.options.profile,
            data_source="hub" if plan.data.folder is None else "local",
            files=plan.data.hashes(),
            device=device,
            dtype=dtype,
            batch_size=plan.options.batch_size,
            max_length=max_length,
            template=plan.options.template,
            lm_eval=plan.lm_eval,
        ),
        tasks=tuple(_task_result(task, facts[task], items[task], metrics[task]) for task in plan.tasks),
        averages=tuple(AverageResult(**asdict(average)) for average in averages(metrics)),
        notes=tuple(_notes(plan, facts)),
        items_sha256=digest(items_text(items)),
        environment=environment_result(device, dtype, torch.get_num_threads()),
    )


def _task_result(task: str, facts: Facts, items: Sequence[Item], metrics: Sequence[Metric]) -> TaskResult:
    available = sum(facts.sizes.values())
    return TaskResult(
        name=task,
        metrics=tuple(MetricResult(**asdict(metric)) for metric in metrics),
        available=available,
        official=TASKS[task].items,
        items="all" if len(items) == available else facts.items,
        shots=TASKS[task].shots,
        chat_template=facts.chat_template,
        max_new_tokens=facts.max_new_tokens,
        cut=facts.cut,
        subjects=_subjects(facts, items) if task == MMLU else (),
        revision=facts.revision,
    )


def _subjects(facts: Facts, items: Sequence[Item]) -> tuple[SubjectResult, ...]:
    name = TASKS[MMLU].metrics[0]
    found: list[SubjectResult] = []
    for leaf in by_leaf(facts.items, facts.sizes):
        metric = measured([item for item in items if item.leaf == leaf], name)
        found.append(SubjectResult(name=leaf.removeprefix(f"{MMLU}_"), value=metric.value, n=metric.n))
    return tuple(found)


def _notes(plan: Plan, facts: Mapping[str, Facts]) -> list[str]:
    cut = [
        f"{task}: prompts longer than {one.max_length} tokens, which lost their beginning: {one.cut}"
        for task, one in facts.items()
        if one.cut
    ]
    bare = [
        f"{task} was asked without a chat template, since the model has none"
        for task, one in facts.items()
        if wants_template(plan.options.template, TASKS[task]) and not one.chat_template
    ]
    missing = [] if plan.data.folder is None else incomplete(plan.data.files, plan.tasks)
    return [*_SIZE_NOTES[plan.options.profile], *missing, *cut, *bare]


def items_text(items: Mapping[str, Sequence[Item]]) -> str:
    """`items.jsonl`: a line of JSON an item."""
    rows = ({"task": task, **asdict(item)} for task, every in items.items() for item in every)
    return "".join(json.dumps(row) + "\n" for row in rows)


def digest(text: str) -> str:
    """SHA-256 of a file with this text."""
    return hashlib.sha256(text.encode()).hexdigest()
