"""`untrigger humaneval`: lets a model write code, runs it contained, and counts what passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from untrigger import __version__
from untrigger.config import HumanEvalOptions
from untrigger.data.chat import ChatFormat, chat_format
from untrigger.errors import UsageError
from untrigger.evaluation.code.problems import problems_file, read_problems
from untrigger.evaluation.code.sandbox import Outcome, containment
from untrigger.evaluation.code.scores import compare, counts, pass_rate
from untrigger.files import publish_folder, sha256
from untrigger.jobs.findings import note_findings
from untrigger.jobs.humaneval_stages import (
    ANSWERS,
    TRIALS,
    HumanEvalRequest,
    Task,
    read_answers,
    read_trials,
    write_answers,
    write_trials,
)
from untrigger.jobs.identity import run_identity
from untrigger.models.load import load
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.observer import Observer, Silent
from untrigger.report.humaneval import (
    RESULT,
    ROWS,
    ComparisonResult,
    Finished,
    HumanEvalResult,
    Row,
    read_finished,
    require_comparable,
    rows_text,
)
from untrigger.report.parts import RateResult, SourceResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder, open_run

__all__ = ["HumanEvalRequest", "humaneval"]


def humaneval(
    request: HumanEvalRequest,
    options: HumanEvalOptions | None = None,
    observer: Observer | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> HumanEvalResult:
    """Measures pass@1 (greedy) and writes the result and a row a problem to `request.output`.

    `on_warning` hears what the containment lacks before any code is run.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: execution was not allowed, wrong options or data, or an output folder that exists.
        UntriggerError: code cannot be contained here.
        Interrupted: the observer asked to stop; the same call resumes.
    """
    observer, options = observer or Silent(), options or HumanEvalOptions()
    _require_allowed(request)
    path = problems_file(request.data)
    problems = read_problems(path)[: request.limit]
    earlier = None if request.against is None else read_finished(request.against)
    contained = containment()
    if on_warning is not None:
        for warning in contained.warnings:
            on_warning(warning)
    subject = load(
        request.model,
        base=request.base,
        device=request.device,
        dtype=request.dtype,
        allow_base_from_config=request.trust_named_base,
        accept_template=request.accept_template,
        allow_nonfinite=request.allow_nonfinite,
    )
    note_findings(subject, observer)
    tokenizer, template = subject.tokenizer, request.template
    chat = chat_format(tokenizer, template) if request.prompt == "chat" else ChatFormat(tokenizer, "plain")
    task = Task(request, options, problems, sha256(path), contained, subject, chat, observer)
    if earlier is not None:
        require_comparable(earlier, task.conditions(), [problem.task_id for problem in problems])
    identity = run_identity(task.shaping(), options, subject)
    with no_network(), open_run(request.run_folder, identity, observer.stage, "--output", observer.note) as run:
        result = _measured(task, run, earlier)
    shutil.rmtree(request.run_folder)
    return result


def _require_allowed(request: HumanEvalRequest) -> None:
    if not request.allow_code_execution:
        raise UsageError(
            "HumanEval runs code that the model writes",
            why="a backdoored model may write harmful code, and its containment is no full sandbox",
            todo="pass --allow-code-execution, best on a machine or in a container that holds nothing of value",
        )
    if request.prompt == "completion" and request.template != "chat":
        raise UsageError("--template belongs to --prompt chat", todo="leave one of the two out")
    for name, number in (("--limit", request.limit), ("--workers", request.workers)):
        if number is not None and number < 1:
            raise UsageError(f"{name} {number} is less than 1", todo="give 1 or more")
    refuse_output(request.output, request.model, request.base)
    refuse_taken(request.output)


def _measured(task: Task, run: RunFolder, earlier: Finished | None) -> HumanEvalResult:
    answers = read_answers(run.stage("answers", lambda work: write_answers(task, work)) / ANSWERS)
    programs = [task.program(p, answer.raw) for p, answer in zip(task.problems, answers, strict=True)]
    trials = read_trials(run.stage("programs", lambda work: write_trials(task, programs, work)) / TRIALS)
    rows = [
        Row(
            task_id=problem.task_id,
            outcome=trial.outcome,
            detail=trial.detail,
            complete=answer.complete,
            answer=answer.raw,
            program=program,
        )
        for problem, answer, program, trial in zip(task.problems, answers, programs, trials, strict=True)
    ]
    result = _result(task, {row.task_id: row.outcome for row in rows}, earlier)

    def build(folder: Path) -> None:
        (folder / RESULT).write_text(result.to_json(), encoding="utf-8")
        (folder / ROWS).write_text(rows_text(rows), encoding="utf-8")

    publish_folder(build, task.request.output)
    return result


def _result(task: Task, outcomes: dict[str, Outcome], earlier: Finished | None) -> HumanEvalResult:
    found = list(outcomes.values())
    compared = None
    if earlier is not None:
        compared = ComparisonResult.of(compare(earlier.outcomes, outcomes), earlier.result.model)
    return HumanEvalResult(
        version=__version__,
        model=SourceResult.model_validate(task.subject.source),
        conditions=task.conditions(),
        pass_at_1=RateResult.of(pass_rate(found)),
        outcomes=counts(found),
        warnings=task.contained.warnings,
        comparison=compared,
        environment=environment_result(str(task.subject.model.device), task.dtype, torch.get_num_threads()),
    )
