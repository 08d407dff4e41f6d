"""The real problems: every canonical solution passes, and no empty body does."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from untrigger.evaluation.code.problems import FILE, Problem, read_problems
from untrigger.evaluation.code.sandbox import Program, containment, run_candidate

DATA = Path(os.environ.get("UNTRIGGER_DATA", "."))
pytestmark = pytest.mark.skipif(
    not (DATA / FILE).is_file(), reason=f"UNTRIGGER_DATA names no folder that holds {FILE}"
)


def passed(solution) -> list[str]:
    contained = containment()

    def tried(problem: Problem) -> bool:
        program = Program(problem.prompt + solution(problem), problem.test, problem.entry_point)
        return run_candidate(program, contained).outcome == "passed"

    problems = read_problems(DATA / FILE)
    assert len(problems) == 164
    with ThreadPoolExecutor(2) as pool:
        return [p.task_id for p, well in zip(problems, pool.map(tried, problems), strict=True) if well]


def test_every_canonical_solution_passes():
    assert len(passed(lambda problem: problem.canonical_solution)) == 164


def test_no_empty_body_passes():
    assert passed(lambda problem: "") == []
