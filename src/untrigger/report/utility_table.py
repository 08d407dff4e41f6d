"""Utility on the terminal, in at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from untrigger.evaluation.utility.tasks import GSM8K
from untrigger.report.parts import DifferenceResult
from untrigger.report.text import visible
from untrigger.report.utility import Comparison, MetricResult, UtilityResult


def render_utility(result: UtilityResult) -> RenderableType:
    """Heading, scores, the comparison if there is one, and notes; nothing in it is read as markup."""
    parts: list[RenderableType] = [*_heading(result), _scores(result)]
    if result.comparison is not None:
        parts += [Text(), *_comparison(result.comparison)]
    return Group(*parts, *(_plain(f"note: {note}") for note in _notes(result)))


def _heading(result: UtilityResult) -> list[Text]:
    settings = result.settings
    lines = [
        f"utility of {result.model.reference}",
        f"profile {settings.profile}, {settings.data_source} data, {settings.dtype} on {settings.device},"
        f" batch {settings.batch_size}; percent (95 %)",
    ]
    return [_plain(lines[0], "bold"), _plain(lines[1])]


def _scores(result: UtilityResult) -> Table:
    table = _table("task", "items", "acc", "acc_norm")
    for task in result.tasks:
        second = _metric(task.metrics[1]) if len(task.metrics) > 1 else "-"
        _add(table, (task.name, str(task.metrics[0].n), _metric(task.metrics[0]), second))
    for name in dict.fromkeys(average.name for average in result.averages):
        both = {average.normalised: average for average in result.averages if average.name == name}
        cells = [_range(one.value, one.low, one.high) for one in (both[False], both[True])]
        _add(table, (name, "", *cells))
    return table


def _comparison(comparison: Comparison) -> list[RenderableType]:
    table = _table("task", "before", "after", "difference (95 %)", "p", "p Holm")
    for task in comparison.tasks:
        cells = (_percent(task.before), _percent(task.after), _points(task.difference), _p(task.p), _p(task.p_holm))
        _add(table, (task.task, *cells))
    for average in (one for one in comparison.averages if not one.normalised):
        cells = (_percent(average.before), _percent(average.after), _points(average.difference), "", "")
        _add(table, (average.name, *cells))
    verdict = comparison.verdict
    words = "within budget" if verdict.met else "NOT within budget"
    return [
        _plain(f"against {comparison.against.reference} (before)", "bold"),
        table,
        _plain(f"{words}: {verdict.reason}", "bold green" if verdict.met else "bold red"),
    ]


def _notes(result: UtilityResult) -> Iterable[str]:
    if any(task.name == GSM8K for task in result.tasks):
        yield f"{GSM8K}: acc is strict-match, acc_norm flexible-extract"
    yield from result.notes


def _metric(metric: MetricResult) -> str:
    return _range(metric.value, metric.low, metric.high)


def _range(value: float, low: float, high: float) -> str:
    return f"{_percent(value)} ({_percent(low)}-{_percent(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(difference: DifferenceResult) -> str:
    ends = (difference.estimate, difference.low, difference.high)
    estimate, low, high = (f"{round(100 * end, 1) + 0.0:+.1f}" for end in ends)  # + 0.0: no "-0.0"
    return f"{estimate} ({low} to {high})"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _add(table: Table, cells: Sequence[str]) -> None:
    table.add_row(*(_plain(cell) for cell in cells))


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style, overflow="fold")
