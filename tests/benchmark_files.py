"""Invented benchmark files in the real ones' form, and a stand-in for the child that runs lm-eval."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from untrigger.evaluation.utility.tasks import GSM8K, MMLU, TASKS

LETTERS = ("A", "B", "C", "D")
SUBJECTS = ("anatomy", "astronomy", "virology")


def invented_rows(task: str, count: int) -> list[dict[str, object]]:
    """`count` rows of the task's form; none is from a benchmark."""
    return [_row(task, number) for number in range(count)]


def write_benchmarks(folder: Path, count: int = 6) -> Path:
    """All ten files, the examples too, below `folder`/benchmarks; returns `folder`."""
    for task in TASKS.values():
        write_rows(folder / "benchmarks" / task.file, invented_rows(task.name, count))
        if task.examples is not None:
            write_rows(folder / "benchmarks" / task.examples, invented_rows(task.name, task.shots + 1))
    return folder


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """JSON lines, compressed if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _row(task: str, n: int) -> dict[str, object]:
    answers = [f"{n} pears", f"{n + 1} plums", f"{n + 2} figs", f"{n + 3} nuts"]
    labelled = {"choices": {"text": answers, "label": list(LETTERS)}, "answerKey": LETTERS[n % 4], "id": f"x{n}"}
    rows: dict[str, dict[str, object]] = {
        "boolq": {"question": f"are there {n} pears", "passage": f"The bowl holds {n} pears.", "label": n % 2},
        "rte": {"sentence1": f"Ann has {n} pears.", "sentence2": "Ann has pears.", "label": n % 2, "idx": n},
        "hellaswag": {
            "activity_label": "Counting",
            "ctx_a": f"Ann counts {n} pears.",
            "ctx_b": "she",
            "endings": [f"eats {answer}. [step] Then [title] rests" for answer in answers],
            "label": str(n % 4),
        },
        "winogrande": {
            "sentence": f"Ann gave Bob {n} pears since _ was hungry.",
            "option1": "Ann",
            "option2": "Bob",
            "answer": str(1 + n % 2),
        },
        "arc_challenge": {"question": f"What follows {n} pears?", **labelled},
        "arc_easy": {"question": f"What comes before {n} pears?", **labelled},
        "openbookqa": {"question_stem": f"A bowl with {n} pears holds", **labelled},
        "piqa": {"goal": f"Eat {n} pears", "sol1": "Bite into them.", "sol2": "Bite into a plum.", "label": n % 2},
        GSM8K: {"question": f"Ann has {n} pears and buys 2. How many?", "answer": f"{n}+2={n + 2}\n#### {n + 2}"},
        MMLU: {
            "question": f"How many pears are {n} pears?",
            "subject": SUBJECTS[n % len(SUBJECTS)],
            "choices": answers,
            "answer": n % 4,
        },
    }
    return rows[task]
