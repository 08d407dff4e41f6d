"""What goes between our process and the child that runs lm-eval: an order, events, and files a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from untrigger.evaluation.utility.tasks import TemplateUse

FACTS, RESULTS = "facts.json", "results.json"


class Message(BaseModel):
    """Base of all messages: unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskOrder(Message):
    """A task and how many items of it (None: all)."""

    name: str
    limit: int | None


class Order(Message):
    """What the child is to run. Model and base are local folders: it loads nothing from anywhere else."""

    model: Path
    base: Path | None
    device: str
    dtype: str
    accept_template: bool = False
    allow_nonfinite: bool = False
    data: Path | None
    """The data folder; None: lm-eval's built-in tasks, fetched from the hub."""
    tasks: tuple[TaskOrder, ...]
    batch_size: int
    max_length: int
    max_new_tokens: int
    template: TemplateUse
    inbox: Path
    """Where a finished task is put: a folder of the task's name, complete as soon as it is there."""


class Facts(Message):
    """What one task was run with."""

    sizes: dict[str, int]
    """lm-eval's task name -> items it has, in the order in which items are counted."""
    items: tuple[int, ...]
    """Numbers of the items that were asked."""
    device: str
    dtype: str
    max_length: int
    max_new_tokens: int | None
    """None where nothing is generated."""
    chat_template: bool
    cut: int
    """Items whose prompt was longer than the model takes and lost its beginning."""
    revision: str | None = None
    """Commit of the data set, if it came from the hub."""


class Asked(Message):
    """Items answered so far."""

    kind: Literal["asked"] = "asked"
    task: str
    done: int
    total: int


class TaskDone(Message):
    """A task lies in the inbox."""

    kind: Literal["task"] = "task"
    task: str


class Failed(Message):
    """An error of ours, to be raised again on the other side."""

    kind: Literal["failed"] = "failed"
    error_code: str
    what: str
    why: str
    todo: str


Event = Annotated[Asked | TaskDone | Failed, Field(discriminator="kind")]
EVENT: TypeAdapter[Asked | TaskDone | Failed] = TypeAdapter(Event)


def samples_name(leaf: str) -> str:
    """Name of the file that holds the samples of one of lm-eval's tasks."""
    return f"samples_{leaf}.jsonl"
