"""`untrigger mt-bench`: answers the questions of MT-Bench, and has them judged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from untrigger import __version__
from untrigger.config import MtBenchOptions, TemplateName
from untrigger.data.chat import ChatFormat
from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.answers import AnswerLine, answer_questions, require_answers
from untrigger.evaluation.mt_bench.cache import ReplyCache
from untrigger.evaluation.mt_bench.endpoint import endpoint, judge_key
from untrigger.evaluation.mt_bench.journal import Journal
from untrigger.evaluation.mt_bench.judging import Judge, JudgementLine, ask_pending, judgements, pending
from untrigger.evaluation.mt_bench.parsing import Parser
from untrigger.evaluation.mt_bench.prompts import Call, Cell, Mode, pair_cells, single_cells
from untrigger.evaluation.mt_bench.questions import Bench, Question
from untrigger.evaluation.mt_bench.reading import bench_folder, read_bench
from untrigger.evaluation.mt_bench.scores import stored_score
from untrigger.files import sha256, write_text_atomic
from untrigger.jobs.findings import note_findings
from untrigger.jobs.identity import source_identity
from untrigger.jobs.mt_bench_answers import (
    ANSWERS,
    Answers,
    finished_answers,
    made_in,
    require_environment,
    require_same_precision,
)
from untrigger.jobs.mt_bench_figures import Sides, answered_result, figures_of, judge_result
from untrigger.models.load import cache_folder, identify, load, quiet
from untrigger.models.subject import Source
from untrigger.models.untrusted.network import no_network
from untrigger.models.untrusted.output import refuse_output
from untrigger.observer import Observer, Silent
from untrigger.report.mt_bench import AnsweredResult, FileResult, MtBenchResult
from untrigger.report.parts import SourceResult
from untrigger.report.summary import environment_result
from untrigger.runs import open_run

JUDGEMENTS, RESULT = "judgements.jsonl", "result.json"
_FLAG = "--output"


@dataclass(frozen=True)
class MtBenchRequest:
    """One run: answers in `output`, judgements in its subfolder `single` or `pairwise`.

    Without a judge only the answers are made. `compare` is the output folder of another model, the baseline: its
    answers are judged in the same run. `references` is a file, or the name of one beside the questions.
    """

    model: str
    output: Path
    base: str | None = None
    judge_url: str | None = None
    judge_model: str | None = None
    judge_key_variable: str | None = None
    allow_remote_http: bool = False
    mode: Mode = "single"
    compare: Path | None = None
    data: Path | None = None
    references: Path | None = None
    parser: Parser = "strict"
    template: TemplateName = "chat"
    trust_named_base: bool = False
    accept_template: bool = False
    allow_nonfinite: bool = False
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True)
class _Run:
    """What every step needs."""

    request: MtBenchRequest
    options: MtBenchOptions
    bench: Bench
    questions: tuple[Question, ...]
    observer: Observer


def mt_bench(
    request: MtBenchRequest,
    options: MtBenchOptions | None = None,
    observer: Observer | None = None,
    environment: Mapping[str, str] | None = None,
) -> MtBenchResult | AnsweredResult:
    """Answers and judges what is not finished yet, writes `result.json` and returns it.

    Without a judge, what is told of the answers is returned and nothing more is written.

    Args:
        request: which model, where to, which judge.
        options: lengths, seed, limits of the calls.
        observer: draws progress and asks to stop.
        environment: variables that name the data folder and hold the judge's key (default: the process's).

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: wrong options or data, or an output folder of another model, judge or setting.
        JudgeUnavailable: the judge cannot be reached or refuses us; what is finished is kept.
        Interrupted: the observer asked to stop; the same call resumes.
    """
    observer, options = observer or Silent(), options or MtBenchOptions()
    variables = os.environ if environment is None else environment
    _require_sense(request)
    refuse_output(request.output, request.model, request.base)
    bench = read_bench(bench_folder(request.data, variables), request.references)
    run = _Run(request, options, bench, bench.first(options.limit), observer)
    judge = _judge(run, variables)
    source = identify(
        request.model, base=request.base, allow_base_from_config=request.trust_named_base, cache=cache_folder()
    )
    identity = _answers_identity(run, source)
    with open_run(request.output, identity, flag=_FLAG):
        baseline = None if request.compare is None else finished_answers(request.compare, identity, run.questions)
        answers = _answered(run)
        if judge is None:
            return answered_result(answers)
        if baseline is not None:
            require_same_precision(answers, baseline)
        return _judged(run, judge, source, answers, baseline)


def _require_sense(request: MtBenchRequest) -> None:
    if (request.judge_url is None) != (request.judge_model is None):
        raise UsageError("--judge-url and --judge-model belong together", todo="give both, or neither to answer only")
    if request.mode == "pairwise" and request.compare is None:
        raise UsageError(
            "--mode pairwise compares with another model's answers", todo="pass --compare FOLDER, a finished output"
        )
    if request.compare is not None and request.judge_url is None:
        raise UsageError("--compare needs a judge", todo="give --judge-url and --judge-model")
    if request.compare is not None and request.compare.resolve() == request.output.resolve():
        raise UsageError("--compare and --output are the same folder", todo="name another model's output folder")


def _judge(run: _Run, variables: Mapping[str, str]) -> Judge | None:
    request = run.request
    if request.judge_url is None or request.judge_model is None:
        return None
    place = endpoint(request.judge_url, request.allow_remote_http)
    return Judge(
        call=Call(place.base_url, request.judge_model, run.options.judge),
        endpoint=place,
        cache=ReplyCache(cache_folder() / "judge" if run.options.judge.cache else None),
        read=stored_score(request.mode, request.parser),
        key=judge_key(request.judge_key_variable, variables),
    )


def _answers_identity(run: _Run, source: Source) -> dict[str, object]:
    options = run.options
    return {
        "model": source_identity(source),
        "questions": run.bench.questions_file.sha256,
        "template": run.request.template,
        "asked": options.model_dump(mode="json", exclude={"judge"}),
        "device": run.request.device,
        "dtype": run.request.dtype,
    }


def _judging_identity(run: _Run, judge: Judge, baseline: Answers | None) -> dict[str, object]:
    """What shapes the requests, besides the answers. The parser does not: judgements can be read anew."""
    return {
        "judge": judge.call.model,
        "base_url": judge.call.base_url,
        "parameters": judge.call.parameters(),
        "references": run.bench.references_file.sha256,
        "prompts": run.bench.prompts_file.sha256,
        "compared": sha256(baseline.file) if run.request.mode == "pairwise" and baseline is not None else None,
    }


def _answered(run: _Run) -> Answers:
    """The answers, made where they are missing; only then the model is loaded."""
    file = run.request.output / ANSWERS
    journal = Journal(file, AnswerLine)
    done = {line.question_id for line in journal.lines}
    missing = any(question.question_id not in done for question in run.questions)
    run.observer.stage("answers", not missing)
    if missing:
        _make_answers(run, journal)
    return Answers(file, require_answers(journal.lines, run.questions, str(file)), made_in(run.request.output))


def _make_answers(run: _Run, journal: Journal[AnswerLine]) -> None:
    request = run.request
    subject = load(
        request.model,
        base=request.base,
        device=request.device,
        dtype=request.dtype,
        allow_base_from_config=request.trust_named_base,
        accept_template=request.accept_template,
        allow_nonfinite=request.allow_nonfinite,
    )
    parameter = next(subject.model.parameters())
    here = environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads())
    require_environment(request.output, here)
    chat = ChatFormat(subject.tokenizer, request.template)
    note_findings(subject, run.observer)
    with no_network(), quiet():  # the library warns of prompts beyond the context; they are stored as errors
        answer_questions(subject, chat, run.questions, run.options, journal, run.observer)


def _judged(run: _Run, judge: Judge, source: Source, answers: Answers, baseline: Answers | None) -> MtBenchResult:
    folder = run.request.output / run.request.mode
    with open_run(folder, _judging_identity(run, judge, baseline), flag=_FLAG):
        journal = Journal(folder / JUDGEMENTS, JudgementLine)
        sides = Sides(run.request.mode, answers, baseline, _cells(run, answers, baseline))
        asks = pending(sides.asked(), judge.call, journal.lines)
        run.observer.stage(f"judgements ({len(asks)} calls)", not asks)
        if asks:
            ask_pending(judge, asks, journal, run.observer)
        result = _result(run, judge, source, sides, judgements(journal.lines))
        write_text_atomic(folder / RESULT, result.to_json())
    return result


def _result(
    run: _Run, judge: Judge, source: Source, sides: Sides, known: Mapping[str, JudgementLine]
) -> MtBenchResult:
    bench, request = run.bench, run.request
    figures = figures_of(sides, judge.call, known, request.parser, run.options.seed)
    return MtBenchResult(
        version=__version__,
        mode=request.mode,
        source=SourceResult.model_validate(source),
        template=request.template,
        answers=answered_result(sides.answers),
        baseline=None if sides.baseline is None else answered_result(sides.baseline),
        judge=judge_result(judge, sides, known),
        questions=FileResult.model_validate(bench.questions_file),
        prompts=FileResult.model_validate(bench.prompts_file),
        references=FileResult.model_validate(bench.references_file),
        parser=request.parser,
        subset=run.options.limit,
        failures=figures.failures,
        scores=figures.scores,
        baseline_scores=figures.baseline_scores,
        delta=figures.delta,
        comparison=figures.comparison,
        environment=sides.answers.environment,
    )


def _cells(run: _Run, answers: Answers, baseline: Answers | None) -> list[list[Cell]]:
    """What is judged: pairs, or the model's answers and, beside them so that one judge sees both, the baseline's."""
    if run.request.mode == "pairwise" and baseline is not None:
        return [pair_cells(run.bench, run.questions, baseline.by_question, answers.by_question)]
    sides = [answers] if baseline is None else [answers, baseline]
    return [single_cells(run.bench, run.questions, side.by_question) for side in sides]
