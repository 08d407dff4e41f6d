"""One model's benchmarks: run task by task over a run folder, or read from an earlier result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from untrigger.data.locate import DATA_FOLDER
from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.utility.files import check_files
from untrigger.evaluation.utility.messages import FACTS, Facts, Order, TaskOrder
from untrigger.evaluation.utility.process import Hung, Killed, evaluation
from untrigger.evaluation.utility.profiles import item_limit
from untrigger.evaluation.utility.scores import Item, measured, read_items, require_equal
from untrigger.evaluation.utility.tasks import TASKS
from untrigger.jobs.utility_result import Data, Plan, digest, items_text, utility_result
from untrigger.models.subject import Source
from untrigger.observer import Observer
from untrigger.report.utility import (
    ITEMS,
    UTILITY,
    UtilityResult,
)
from untrigger.runs import RunFolder, open_run

HUB = "hub"


@dataclass(frozen=True)
class Side:
    """One model's figures, its items by task, and lm-eval's own files (none for an earlier result)."""

    result: UtilityResult
    items: Mapping[str, Sequence[Item]]
    folders: tuple[Path, ...] = ()

    def items_text(self) -> str:
        """`items.jsonl`."""
        return items_text(self.items)


def benchmark_data(named: str | None, tasks: Sequence[str], complete: bool) -> Data:
    """The data that was named, else the folder that UNTRIGGER_DATA names; every line is checked.

    Raises:
        UsageError: none is named, or a missing or faulty file.
    """
    given = named or os.environ.get(DATA_FOLDER)
    if not given:
        raise UsageError(
            "no benchmark data is named",
            todo=f"name the folder that holds benchmarks/ with --data or {DATA_FOLDER}, or take --data {HUB}",
        )
    if given == HUB:
        return Data(None, {})
    return Data(Path(given), check_files(Path(given), tasks, complete))


def run_side(
    source: Source, plan: Plan, identity: Mapping[str, object], folder: Path, observer: Observer, label: str
) -> Side:
    """Runs the tasks that the run folder does not hold yet.

    Raises:
        Interrupted: the observer asked to stop.
        UntriggerError: the evaluation failed; finished tasks are kept.
    """

    def on_stage(name: str, finished: bool) -> None:
        observer.stage(f"{label}{name}", finished)

    with open_run(folder, identity, on_stage, note=observer.note) as run:
        return _side(source, plan, _task_folders(source, plan, run, observer, label))


def read_side(folder: Path) -> Side:
    """An earlier result.

    Raises:
        UsageError: a file that is missing, of another schema, or not the one that the result speaks of.
    """
    try:
        result = UtilityResult.from_json((folder / UTILITY).read_text(encoding="utf-8"), str(folder / UTILITY))
        text = (folder / ITEMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder} cannot be read", why=str(error), todo="name the folder of a result") from error
    if digest(text) != result.items_sha256:
        raise UsageError(f"{folder / ITEMS} is not the file that {UTILITY} speaks of", todo="measure the model again")
    items: dict[str, list[Item]] = {}
    for line in text.splitlines():
        row = json.loads(line)
        items.setdefault(row.pop("task"), []).append(Item(**row))
    return Side(result, items)


def _task_folders(source: Source, plan: Plan, run: RunFolder, observer: Observer, label: str) -> tuple[Path, ...]:
    """Every task's folder; a child that is killed or hangs is replaced once, for what is left to do."""
    try:
        return _answered(source, plan, run, observer, label)
    except (Hung, Killed) as error:
        observer.note(f"{error.what}; another one is started")
    return _answered(source, plan, run, observer, label)


def _answered(source: Source, plan: Plan, run: RunFolder, observer: Observer, label: str) -> tuple[Path, ...]:
    missing = [task for task in plan.tasks if not run.finished(task)]
    if not missing:
        return tuple(run.stage(task, _nothing) for task in plan.tasks)
    with evaluation(_order(source, plan, missing, run.path), run.path, observer) as child:

        def wait(task: str) -> Callable[[Path], int]:
            def build(work: Path) -> int:
                child.deliver(task, f"{label}{task}", work)
                return 0

            return build

        return tuple(run.stage(task, wait(task)) for task in plan.tasks)


def _nothing(work: Path) -> int:
    raise UntriggerError(f"{work} changed while it was read", todo="run the same command again")


def _order(source: Source, plan: Plan, tasks: Sequence[str], folder: Path) -> Order:
    options = plan.options
    return Order(
        model=source.folder.absolute(),
        base=None if source.base is None else source.base.folder.absolute(),
        device=plan.device,
        dtype=plan.dtype,
        accept_template=plan.accept_template,
        allow_nonfinite=plan.allow_nonfinite,
        data=None if plan.data.folder is None else plan.data.folder.absolute(),
        tasks=tuple(TaskOrder(name=task, limit=item_limit(options.profile, task)) for task in tasks),
        batch_size=options.batch_size,
        max_length=options.max_length,
        max_new_tokens=options.max_new_tokens,
        template=options.template,
        inbox=(folder / "inbox").absolute(),
    )


def _side(source: Source, plan: Plan, folders: tuple[Path, ...]) -> Side:
    facts = {
        task: Facts.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))
        for task, folder in zip(plan.tasks, folders, strict=True)
    }
    places = {(one.device, one.dtype, one.max_length) for one in facts.values()}
    if len(places) > 1:
        raise UntriggerError(
            f"the tasks were not run alike: {sorted(places)}", todo="name one --device and --dtype, and another --run"
        )
    items = {
        task: read_items(TASKS[task], facts[task], folder) for task, folder in zip(plan.tasks, folders, strict=True)
    }
    metrics = {task: [measured(items[task], name) for name in TASKS[task].metrics] for task in plan.tasks}
    for task, folder in zip(plan.tasks, folders, strict=True):
        require_equal(TASKS[task], metrics[task], folder)
    return Side(utility_result(source, plan, facts, items, metrics), items, folders)
