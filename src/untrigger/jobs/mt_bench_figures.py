"""From the journals of MT-Bench to the parts of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from untrigger.evaluation.mt_bench.judging import Judge, JudgementLine
from untrigger.evaluation.mt_bench.parsing import Parser
from untrigger.evaluation.mt_bench.prompts import Call, Cell, Mode
from untrigger.evaluation.mt_bench.scores import (
    Row,
    compared_rows,
    differences,
    means,
    rated_rows,
    reasons,
)
from untrigger.files import sha256
from untrigger.jobs.mt_bench_answers import Answers
from untrigger.report.mt_bench import AnsweredResult, ComparisonResult, JudgeResult, MeansResult


@dataclass(frozen=True)
class Sides:
    """Answers of the model and of the baseline, and what is judged of them: pairs, or a list of cells a side."""

    mode: Mode
    answers: Answers
    baseline: Answers | None
    cells: Sequence[Sequence[Cell]]

    def asked(self) -> list[Cell]:
        """All cells, those of one turn of one question side by side, so that a judge that drifts is fair to both."""
        return [cell for row in zip(*self.cells, strict=True) for cell in row]


@dataclass(frozen=True)
class Figures:
    """The scores of one run; what does not belong to its mode is None."""

    failures: dict[str, int]
    scores: MeansResult | None = None
    baseline_scores: MeansResult | None = None
    delta: MeansResult | None = None
    comparison: ComparisonResult | None = None


def figures_of(sides: Sides, call: Call, known: Mapping[str, JudgementLine], parser: Parser, seed: int) -> Figures:
    """Everything that is counted; `seed` draws the intervals."""
    if sides.mode == "pairwise":
        rows, counts = compared_rows(sides.cells[0], call, known, parser)
        comparison = ComparisonResult(
            wins=counts.wins,
            losses=counts.losses,
            ties=counts.ties,
            split=counts.split,
            net=_means(rows, seed),
        )
        return Figures(_failures(rows), comparison=comparison)
    rated = [rated_rows(cells, call, known, parser) for cells in sides.cells]
    scores = _means(rated[0], seed)
    if sides.baseline is None:
        return Figures(_failures(rated[0]), scores)
    delta = _means(differences(rated[1], rated[0]), seed)
    return Figures(_failures(rated[0]), scores, _means(rated[1], seed), delta)


def answered_result(answers: Answers) -> AnsweredResult:
    """What is told of a file of answers."""
    lines = answers.by_question.values()
    return AnsweredResult(
        model=next(iter(lines)).model_id,
        sha256=sha256(answers.file),
        questions=len(lines),
        failed=sum(line.error is not None for line in lines),
        cut=sum(not whole for line in lines for whole in line.complete),
    )


def judge_result(judge: Judge, sides: Sides, known: Mapping[str, JudgementLine]) -> JudgeResult:
    """Who judged the cells, and when."""
    asked = {judge.call.request(ask) for cell in sides.asked() for ask in cell.asks}
    used = [known[request] for request in asked if request in known and known[request].judgement is not None]
    names = {line.answered_as for line in used if line.answered_as is not None}
    times = [line.tstamp for line in used]
    return JudgeResult(
        name=judge.call.model,
        answered_as=tuple(sorted(names)),
        base_url_host=judge.endpoint.host,
        parameters=judge.call.parameters(),
        first=min(times, default=None),
        last=max(times, default=None),
    )


def _means(rows: Sequence[Row], seed: int) -> MeansResult:
    return MeansResult.of(means(rows, np.random.default_rng(seed)))


def _failures(rows: Sequence[Row]) -> dict[str, int]:
    return {str(reason): count for reason, count in reasons(rows).items()}
