"""The program that evaluates: `python -m untrigger.evaluation.utility.child ORDER.json`, started by `process.py`.

It tells events on its standard output, a line of JSON each; whatever libraries print goes to standard error. It ends
when its standard input does, so that it never outlives the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from untrigger.errors import UntriggerError
from untrigger.evaluation.utility import harness
from untrigger.evaluation.utility.files import FOLDER, documents_by_leaf, read_rows
from untrigger.evaluation.utility.messages import (
    FACTS,
    RESULTS,
    Asked,
    Facts,
    Failed,
    Message,
    Order,
    TaskDone,
    TaskOrder,
    samples_name,
)
from untrigger.evaluation.utility.profiles import by_leaf, chosen_items
from untrigger.evaluation.utility.tasks import TASKS, UtilityTask, wants_template
from untrigger.models.hub import FAILURES
from untrigger.models.load import load
from untrigger.models.subject import Subject


class Teller:
    """Writes events to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, message: Message) -> None:
        """One line, at once."""
        self._stream.write(message.model_dump_json() + "\n")
        self._stream.flush()


def main(arguments: Sequence[str]) -> int:
    """Runs the order in the named file; returns the exit code."""
    teller = Teller(_own_output())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    order = Order.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        run(order, teller)
    except UntriggerError as error:
        teller.tell(Failed(error_code=error.error_code, what=error.what, why=error.why, todo=error.todo))
        return error.exit_code
    return 0


def run(order: Order, teller: Teller) -> None:
    """Loads the model once and runs task after task; each is put in the inbox when it is finished."""
    harness.quieten()
    subject = load(
        str(order.model),
        base=None if order.base is None else str(order.base),
        device=order.device,
        dtype=order.dtype,
        accept_template=order.accept_template,
        allow_nonfinite=order.allow_nonfinite,
    )
    length = min(order.max_length, subject.model.config.max_position_embeddings)
    model = harness.wrapped(subject, order.batch_size, length)
    for asked in order.tasks:
        _run_task(order, asked, subject, model, teller)
        teller.tell(TaskDone(task=asked.name))


def _run_task(order: Order, asked: TaskOrder, subject: Subject, model: Any, teller: Teller) -> None:
    task = TASKS[asked.name]
    runnable = _from_hub(task) if order.data is None else _local(task, order.data)
    items = chosen_items(task.name, asked.limit, sum(runnable.sizes.values()))
    chat = wants_template(order.template, task) and subject.tokenizer.chat_template is not None
    # lm-eval stops where a model's length leaves no room for a prompt beside the answer.
    new_tokens = min(order.max_new_tokens, model.max_length // 2) if task.generates else None

    def on_answer(answers: int) -> None:
        if answers % task.choices == 0:
            teller.tell(Asked(task=task.name, done=min(answers // task.choices, len(items)), total=len(items)))

    model.set_cache_hook(harness.Counter(on_answer))
    results = harness.evaluated(model, runnable, by_leaf(items, runnable.sizes), chat, new_tokens)
    parameter = next(subject.model.parameters())
    facts = Facts(
        sizes=runnable.sizes,
        items=tuple(items),
        device=str(parameter.device),
        dtype=str(parameter.dtype).removeprefix("torch."),
        max_length=model.max_length,
        max_new_tokens=new_tokens,
        chat_template=chat,
        cut=sum(harness.cut_prompts(model, samples, new_tokens) for samples in results["samples"].values()),
        revision=runnable.revision,
    )
    _put(order.inbox, task.name, facts, results)


def _from_hub(task: UtilityTask) -> harness.Runnable:
    try:
        return harness.hub_task(task)
    except FAILURES as error:
        raise UntriggerError(
            f"the data set of {task.name} cannot be fetched from the hub",
            why=str(error).partition("\n")[0],
            todo="connect, or name a folder with --data",
        ) from error


def _local(task: UtilityTask, data: Path) -> harness.Runnable:
    leaves = documents_by_leaf(task, read_rows(data / FOLDER / task.file, task.row))
    if task.examples is None:
        return harness.local_task(task, leaves, ())
    examples = [row.document() for row in read_rows(data / FOLDER / task.examples, task.row)]
    return harness.local_task(task, leaves, examples[: task.shots])


def _put(inbox: Path, task: str, facts: Facts, results: Mapping[str, Any]) -> None:
    unfinished = inbox / f"{task}.partial"
    unfinished.mkdir(parents=True)
    (unfinished / FACTS).write_text(facts.model_dump_json(), encoding="utf-8")
    (unfinished / RESULTS).write_text(harness.results_text(results), encoding="utf-8")
    for leaf, samples in results["samples"].items():
        lines = "".join(harness.sample_line(sample) for sample in samples)
        (unfinished / samples_name(leaf)).write_text(lines, encoding="utf-8")
    unfinished.rename(inbox / task)


def _own_output() -> TextIO:
    """Standard output for the events alone: what else is printed goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main(sys.argv[1:]))
