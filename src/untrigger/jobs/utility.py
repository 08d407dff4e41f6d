"""`untrigger utility`: the ten benchmarks of a model, and whether it lost more than a budget against another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from untrigger.config import UtilityOptions
from untrigger.errors import UsageError
from untrigger.evaluation.utility.layout import write_layout
from untrigger.evaluation.utility.paired import (
    Pairs,
    average_differences,
    judged,
    pair_items,
    smallest_task,
    task_differences,
)
from untrigger.evaluation.utility.process import require_harness
from untrigger.evaluation.utility.profiles import selected_tasks
from untrigger.files import publish_folder, sha256
from untrigger.jobs.identity import source_identity
from untrigger.jobs.utility_result import Data, Plan
from untrigger.jobs.utility_side import Side, benchmark_data, read_side, run_side
from untrigger.models.adapters import is_adapter
from untrigger.models.load import cache_folder, identify
from untrigger.models.locate import locate
from untrigger.models.subject import Source
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.observer import Observer, Silent
from untrigger.report.summary import environment_result
from untrigger.report.utility import (
    ITEMS,
    UTILITY,
    AverageComparison,
    BudgetVerdict,
    Comparison,
    TaskComparison,
    UtilityResult,
)
from untrigger.runs import is_complete, mark_complete

REPRODUCE, AGAINST, OWN = "reproduce.json", "against", "model"
_MUST_AGREE = ("dtype", "batch_size", "max_length", "template", "lm_eval")


@dataclass(frozen=True)
class UtilityRequest:
    """One measurement.

    `against` is another model, or the folder of an earlier result; an adapter there takes the same base. `data` is
    the folder that holds `benchmarks/`, or "hub" (default: what UNTRIGGER_DATA names).
    """

    model: str
    output: Path
    base: str | None = None
    against: str | None = None
    data: str | None = None
    run: Path | None = None
    keep_run: bool = False
    trust_named_base: bool = False
    accept_template: bool = False
    allow_nonfinite: bool = False
    device: str = "auto"
    dtype: str = "auto"

    @property
    def run_folder(self) -> Path:
        """Where finished tasks are kept until all are."""
        return self.run or self.output.with_name(self.output.name + ".run")


def utility(
    request: UtilityRequest, options: UtilityOptions | None = None, observer: Observer | None = None
) -> UtilityResult:
    """Runs the benchmarks in a process of their own and writes `request.output`; the same call goes on if stopped.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options, benchmark files at fault, results that cannot be compared, an output that exists.
        Interrupted: the observer asked to stop.
        UntriggerError: lm-eval is missing, or its process failed.
    """
    observer, options = observer or Silent(), options or UtilityOptions()
    refuse_output(request.output, request.model, request.base, request.against)
    refuse_output(request.run_folder, request.model, request.base, name="the run folder")
    lm_eval = require_harness()
    tasks = selected_tasks(options.profile, options.tasks)
    data = benchmark_data(request.data, tasks, complete=options.profile == "full")
    if not is_complete(request.output):
        refuse_taken(request.output)
    accepted, allowed = request.accept_template, request.allow_nonfinite
    plan = Plan(options, tasks, data, request.device, request.dtype, lm_eval, accepted, allowed)
    own = identify(request.model, base=request.base, allow_base_from_config=request.trust_named_base)
    earlier, other = _other(request)
    identity = _identity(own, plan)
    whole = {**identity, "budget": options.budget, "seed": options.seed, "against": _against_identity(request, other)}
    if request.output.exists():
        return _finished_before(request.output, whole)
    before = read_side(earlier) if earlier is not None else None
    label = "" if other is None else f"{OWN}: "
    after = run_side(own, plan, identity, request.run_folder / OWN, observer, label)
    if other is not None:
        folder = request.run_folder / AGAINST
        before = run_side(other, plan, _identity(other, plan), folder, observer, f"{AGAINST}: ")
    comparison = None if before is None else compare(before, after, options)
    result = after.result.model_copy(update={"comparison": comparison})
    _publish(request, result, after, before if other is not None else None, whole)
    if not request.keep_run:
        shutil.rmtree(request.run_folder)
    return result


def compare(before: Side, after: Side, options: UtilityOptions) -> Comparison:
    """The differences of two results on the same items.

    Raises:
        UsageError: other settings, tasks or items.
    """
    pairs = _pairs(before, after)
    averages = average_differences(pairs, options.seed)
    return Comparison(
        against=before.result.model,
        tasks=tuple(TaskComparison.model_validate(one) for one in task_differences(pairs, options.seed)),
        averages=tuple(AverageComparison.model_validate(one) for one in averages),
        verdict=BudgetVerdict(**asdict(judged(averages[0], smallest_task(pairs), options.budget))),
    )


def _pairs(before: Side, after: Side) -> list[Pairs]:
    first, second = before.result.settings, after.result.settings
    theirs, ours = first.model_dump(), second.model_dump()
    wrong = [f"{name}: {theirs[name]} and {ours[name]}" for name in _MUST_AGREE if theirs[name] != ours[name]]
    if first.device.partition(":")[0] != second.device.partition(":")[0]:
        wrong.append(f"device: {first.device} and {second.device}")
    missing = [task for task in after.items if task not in before.items]
    if wrong or missing:
        raise UsageError(
            "the two results cannot be compared",
            why="; ".join([*wrong, *(f"{task} is missing in the other" for task in missing)]),
            todo="measure both with the same options",
        )
    same = first.data_source == second.data_source
    return [pair_items(task, before.items[task], items, same) for task, items in after.items.items()]


def _other(request: UtilityRequest) -> tuple[Path | None, Source | None]:
    """The folder of an earlier result, or the other model, or neither."""
    if request.against is None:
        return None, None
    folder = Path(request.against)
    if (folder / UTILITY).is_file():
        return folder, None
    adapter = is_adapter(locate(request.against, cache_folder()).folder)
    named = request.trust_named_base
    return None, identify(request.against, base=request.base if adapter else None, allow_base_from_config=named)


def _identity(source: Source, plan: Plan) -> dict[str, object]:
    options = plan.options.model_dump(mode="json", exclude={"budget", "seed", "tasks"})
    environment = environment_result(plan.device, plan.dtype, torch.get_num_threads())
    return {
        "model": source_identity(source),
        "options": options,
        "tasks": plan.tasks,
        "data": _data_identity(plan.data),
        "lm_eval": plan.lm_eval,
        "environment": environment.model_dump(mode="json"),
    }


def _data_identity(data: Data) -> object:
    return "hub" if data.folder is None else data.hashes()


def _against_identity(request: UtilityRequest, other: Source | None) -> object:
    if request.against is None:
        return None
    return sha256(Path(request.against) / UTILITY) if other is None else source_identity(other)


def _finished_before(output: Path, identity: Mapping[str, object]) -> UtilityResult:
    try:
        written = json.loads((output / REPRODUCE).read_text(encoding="utf-8"))["identity"]
        text = (output / UTILITY).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError):
        written, text = None, ""
    if written != json.loads(json.dumps(identity)):
        raise UsageError(f"{output} holds the output of another run", todo="name another output folder")
    return UtilityResult.from_json(text, str(output / UTILITY))


def _publish(
    request: UtilityRequest, result: UtilityResult, after: Side, before: Side | None, identity: Mapping[str, object]
) -> None:
    asked = {name: value if value is None else str(value) for name, value in asdict(request).items()}

    def build(folder: Path) -> None:
        _write_side(folder, result, after)
        if before is not None:
            (folder / AGAINST).mkdir()
            _write_side(folder / AGAINST, before.result, before)
        text = json.dumps({"request": asked, "identity": identity}, indent=1) + "\n"
        (folder / REPRODUCE).write_text(text, encoding="utf-8")
        mark_complete(folder)

    publish_folder(build, request.output)


def _write_side(folder: Path, result: UtilityResult, side: Side) -> None:
    (folder / UTILITY).write_text(result.to_json(), encoding="utf-8")
    (folder / ITEMS).write_text(side.items_text(), encoding="utf-8")
    settings = result.settings
    config: dict[str, object] = {
        "model": result.model.reference,
        "batch_size": settings.batch_size,
        "device": settings.device,
        "model_dtype": settings.dtype,
    }
    write_layout(side.folders, folder, config)
