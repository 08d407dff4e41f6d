"""The result of MT-Bench: as JSON, and as a table for terminals of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from untrigger.evaluation.mt_bench.scores import Means
from untrigger.report.document import Document
from untrigger.report.parts import EnvironmentResult, Part, SourceResult
from untrigger.report.text import shortened, visible

NAME_CHARACTERS = 120


class MeanResult(Part):
    """A mean with its 95 % interval; None where more than 5 % of the rows failed."""

    rows: int = Field(gt=0)
    failed: int = Field(ge=0)
    value: float | None
    low: float | None
    high: float | None


class MeansResult(Part):
    """The mean of all rows, of each turn and of each category."""

    overall: MeanResult
    turns: tuple[MeanResult, MeanResult]
    categories: dict[str, MeanResult]

    @classmethod
    def of(cls, means: Means) -> MeansResult:
        """The same values."""
        return cls(
            overall=MeanResult.model_validate(means.overall),
            turns=(MeanResult.model_validate(means.turns[0]), MeanResult.model_validate(means.turns[1])),
            categories={name: MeanResult.model_validate(mean) for name, mean in means.categories.items()},
        )


class FileResult(Part):
    """A file that the scores rest on."""

    name: str
    sha256: str
    published: bool
    """Whether it is the file that published scores rest on."""


class JudgeResult(Part):
    """Who judged, and how it was asked."""

    name: str
    answered_as: tuple[str, ...]
    """Every model name in the server's replies."""
    base_url_host: str
    parameters: dict[str, JsonValue]
    first: float | None
    """When the first judgement was made, in seconds since 1970."""
    last: float | None


class AnsweredResult(Part):
    """A model's answers."""

    model: str
    sha256: str
    """Hash of the file of answers."""
    questions: int = Field(gt=0)
    failed: int = Field(ge=0)
    """Questions with an error in place of an answer."""
    cut: int = Field(ge=0)
    """Answers that reached the longest length."""


class ComparisonResult(Part):
    """Pairwise verdicts; `split`: the two verdicts of a pair disagreed, which makes a tie."""

    wins: int = Field(ge=0)
    losses: int = Field(ge=0)
    ties: int = Field(ge=0)
    split: int = Field(ge=0)
    net: MeansResult
    """Wins minus losses, as a share of the rows."""


class MtBenchResult(Document):
    """MT-Bench of one model under one judge; comparable under the same judge and references only."""

    version: str
    """Version of untrigger."""
    mode: Literal["single", "pairwise"]
    source: SourceResult
    template: str
    answers: AnsweredResult
    baseline: AnsweredResult | None = None
    """The other model, where one was compared."""
    judge: JudgeResult
    questions: FileResult
    prompts: FileResult
    references: FileResult
    parser: Literal["strict", "fastchat"]
    subset: int | None
    """Questions asked of each category, None for all of them; with a number this is no MT-Bench score."""
    failures: dict[str, int]
    """Rows of this model, or pairs, that failed, by reason."""
    scores: MeansResult | None = None
    """Ratings from 1 to 10."""
    baseline_scores: MeansResult | None = None
    delta: MeansResult | None = None
    """This model minus the baseline, row by row."""
    comparison: ComparisonResult | None = None
    environment: EnvironmentResult | None
    """Where the answers were made."""

    @property
    def published(self) -> bool:
        """Whether there is a mean: at most 5 % of the rows failed."""
        shown = [self.scores, self.baseline_scores, self.delta, self.comparison.net if self.comparison else None]
        return all(means.overall.value is not None for means in shown if means is not None)


def render_mt_bench(result: MtBenchResult) -> RenderableType:
    """The result for a terminal of 80 columns or more; nothing in it is read as markup."""
    return Group(*_heading(result), _table(result), *_foot(result))


def _heading(result: MtBenchResult) -> Iterator[Text]:
    kind = "single answers" if result.mode == "single" else "pairs"
    against = f" against {_named(result.baseline.model)}" if result.baseline else ""
    yield _plain(f"MT-Bench ({kind}) of {_named(result.source.reference)}{against}", "bold")
    yield _plain(f"judge: {_named(result.judge.name)} at {result.judge.base_url_host}; parser: {result.parser}")
    yield _plain(f"references: {result.references.name}, sha256 {result.references.sha256[:16]}")
    others = [file.name for file in (result.questions, result.prompts, result.references) if not file.published]
    if others:
        yield _plain(f"not the files of published scores: {', '.join(others)}", "yellow")
    if result.subset is not None:
        yield _plain(f"only {result.subset} questions of each category: a trial, no MT-Bench score", "yellow")


def _table(result: MtBenchResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    columns = _columns(result)
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_column("failed", justify="right")
    main = columns[-1][1]
    for label in (*main.categories, "turn 1", "turn 2", "all"):
        mean = _mean(main, label)
        cells = [_mean_text(_mean(means, label), signed=name in _SIGNED) for name, means in columns]
        table.add_row(label, *cells, f"{mean.failed}/{mean.rows}")
    return table


_SIGNED = ("delta", "wins - losses")


def _columns(result: MtBenchResult) -> list[tuple[str, MeansResult]]:
    """Names and means, from left to right."""
    if result.comparison is not None:
        return [("wins - losses", result.comparison.net)]
    found = [("baseline", result.baseline_scores), ("rating", result.scores), ("delta", result.delta)]
    return [(name, means) for name, means in found if means is not None]


def _mean(means: MeansResult, label: str) -> MeanResult:
    ends = {"all": means.overall, "turn 1": means.turns[0], "turn 2": means.turns[1]}
    return ends.get(label) or means.categories[label]


def _mean_text(mean: MeanResult, signed: bool) -> str:
    if mean.value is None:
        return "withheld"
    form = "+.2f" if signed else ".2f"
    if mean.low is None or mean.high is None:
        return f"{mean.value:{form}}"
    return f"{mean.value:{form}} ({mean.low:{form}}, {mean.high:{form}})"


def _foot(result: MtBenchResult) -> Iterator[Text]:
    if result.comparison is not None:
        found = result.comparison
        yield _plain(
            f"wins {found.wins}, losses {found.losses}, ties {found.ties} (of them {found.split} where the judge"
            " changed its mind with the sides)"
        )
    if result.failures:
        yield _plain("failed rows: " + ", ".join(f"{count} {reason}" for reason, count in result.failures.items()))
    if not result.published:
        yield _plain("more than 5 % of the rows failed: no mean is given", "bold red")
    yield _plain("in brackets: 95 %, resampling questions; scores of other judges do not compare")


def _named(name: str) -> str:
    return shortened(name, NAME_CHARACTERS)


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style, overflow="fold")
