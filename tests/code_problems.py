"""Invented problems in HumanEval's format."""

from __future__ import annotations

import json
from pathlib import Path

from untrigger.evaluation.code.problems import Problem

DOUBLE = Problem(
    task_id="Test/0",
    prompt='from typing import List\n\n\ndef double(numbers: List[int]) -> List[int]:\n    """Twice each."""\n',
    entry_point="double",
    canonical_solution="    return [2 * number for number in numbers]\n",
    test="def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n",
)
SHIFT = Problem(
    task_id="Test/1",
    prompt='def one():\n    return 1\n\n\ndef shift(number):\n    """\n    Add `one()`.\n    """\n',
    entry_point="shift",
    canonical_solution="    return number + one()\n",
    test="def check(candidate):\n    assert candidate(3) == 4\n    assert shift(one()) == 2\n",
)


def write_problems(folder: Path, *problems: Problem) -> Path:
    """A data folder with these problems."""
    path = folder / "benchmarks" / "humaneval.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in problems))
    return folder
