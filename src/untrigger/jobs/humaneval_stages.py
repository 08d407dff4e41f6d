"""The two stages of a HumanEval measurement, each of which goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from untrigger.config import HumanEvalOptions, TemplateName
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import Interrupted
from untrigger.evaluation.code.extraction import chat_program, chat_question, continued_program
from untrigger.evaluation.code.problems import Problem
from untrigger.evaluation.code.sandbox import Containment, Limits, Program, Trial, run_candidate
from untrigger.files import write_text_atomic
from untrigger.models.generate import Answer, Generation, generate_answers
from untrigger.models.subject import Subject
from untrigger.observer import Observer
from untrigger.report.humaneval import Conditions

Prompting = Literal["chat", "completion"]
ANSWERS, TRIALS = "answers.jsonl", "trials.jsonl"


@dataclass(frozen=True)
class HumanEvalRequest:
    """One measurement; `data` is the folder that holds `benchmarks/`, `against` the output of an earlier one."""

    model: str
    output: Path
    data: Path | None = None
    allow_code_execution: bool = False
    base: str | None = None
    against: Path | None = None
    prompt: Prompting = "chat"
    template: TemplateName = "chat"
    limit: int | None = None
    workers: int = 1
    trust_named_base: bool = False
    accept_template: bool = False
    allow_nonfinite: bool = False
    device: str = "auto"
    dtype: str = "auto"

    @property
    def run_folder(self) -> Path:
        """Where unfinished work is kept."""
        return self.output.with_name(self.output.name + ".run")


@dataclass(frozen=True)
class Task:
    """All that one measurement is made with."""

    request: HumanEvalRequest
    options: HumanEvalOptions
    problems: Sequence[Problem]
    problems_sha256: str
    contained: Containment
    subject: Subject
    chat: ChatFormat
    observer: Observer

    @property
    def dtype(self) -> str:
        """The weights' data type."""
        return str(next(self.subject.model.parameters()).dtype)

    def conditions(self) -> Conditions:
        """What another measurement must share to be compared."""
        return Conditions(
            problems_sha256=self.problems_sha256,
            prompt=self.request.prompt,
            template=self.chat.identity,
            max_new_tokens=self.options.max_new_tokens,
            batch_size=self.options.batch_size,
            dtype=self.dtype,
            seconds=self.options.seconds,
            containment=self.contained.way,
        )

    def shaping(self) -> dict[str, object]:
        """What decides the result besides model and options."""
        return {**self.conditions().model_dump(mode="json"), "limit": self.request.limit}

    def question(self, problem: Problem) -> Record:
        """What the model is asked."""
        text = chat_question(problem) if self.request.prompt == "chat" else problem.prompt
        return Record(text, "")

    def program(self, problem: Problem, answer: str) -> str | None:
        """The program in an answer, None if there is none."""
        extract = chat_program if self.request.prompt == "chat" else continued_program
        return extract(problem, answer)

    def go_on(self, where: str) -> None:
        """Raises Interrupted if the observer wants to stop."""
        if self.observer.stop():
            raise Interrupted(f"stopped {where}", todo="run the same command again")


def write_answers(task: Task, work: Path) -> int:
    """Answers batch by batch; each finished batch is a file, so that the next start has the same batches to do."""
    size = task.options.batch_size
    parts = []
    for start in range(0, len(task.problems), size):
        batch = task.problems[start : start + size]
        part = work / "scratch" / f"{start}.jsonl"
        if not part.exists():
            task.go_on(f"after {start} of {len(task.problems)} answers")
            write_text_atomic(part, _lines(_answered(task, batch)))
        parts.append(part.read_text(encoding="utf-8"))
        task.observer.prompts("answers", start + len(batch), len(task.problems))
    (work / ANSWERS).write_text("".join(parts), encoding="utf-8")
    return 0


def _answered(task: Task, batch: Sequence[Problem]) -> list[Answer]:
    return generate_answers(
        task.subject.model,
        task.chat,
        [task.question(problem) for problem in batch],
        Generation(task.options.max_new_tokens, task.options.batch_size),
        softcap=task.subject.architecture.logit_softcap,
    )


def write_trials(task: Task, programs: Sequence[str | None], work: Path) -> int:
    """Runs the programs, several at once if asked; what is done is kept, in their order."""
    kept = work / "scratch" / TRIALS
    done = read_trials(kept) if kept.exists() else []
    limits = Limits(seconds=task.options.seconds)

    def tried(index: int) -> Trial:
        source, problem = programs[index], task.problems[index]
        if source is None:
            return Trial("no code", "", 0.0)
        return run_candidate(Program(source, problem.test, problem.entry_point), task.contained, limits)

    pool = ThreadPoolExecutor(task.request.workers)
    try:
        for trial in pool.map(tried, range(len(done), len(programs))):
            done.append(trial)
            write_text_atomic(kept, _lines(done))
            task.observer.prompts("programs", len(done), len(programs))
            if len(done) < len(programs):
                task.go_on(f"after {len(done)} of {len(programs)} programs")
    finally:
        pool.shutdown(cancel_futures=True)
    (work / TRIALS).write_text(_lines(done), encoding="utf-8")
    return 0


def read_answers(path: Path) -> list[Answer]:
    """Answers of a finished stage."""
    return [Answer(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def read_trials(path: Path) -> list[Trial]:
    """Trials of a finished or half-finished stage."""
    return [Trial(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _lines(records: Sequence[Answer] | Sequence[Trial]) -> str:
    return "".join(json.dumps(asdict(record)) + "\n" for record in records)
