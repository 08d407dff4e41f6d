"""A result on the terminal: before and after side by side, or stacked where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from untrigger.errors import UsageError
from untrigger.evaluation.attack_success import Verdict
from untrigger.report.parts import MeasurementResult, RungResult
from untrigger.report.result import Result
from untrigger.report.text import (
    behaviour_text,
    change_text,
    invalid_text,
    perplexity_text,
    rate_text,
    shortened,
    visible,
)

NARROWEST_TABLE = 80
"""Columns; below, the widest rates no longer fit side by side."""
EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class Line:
    """One measure, as text, of both models."""

    label: str
    before: str
    after: str


def comparison(before: MeasurementResult, after: MeasurementResult) -> list[Line]:
    """The measures of both models, in the order they are shown."""
    lines = [
        Line("attack success", behaviour_text(before.attack_success), behaviour_text(after.attack_success)),
        Line("broken with key", invalid_text(before.attack_success), invalid_text(after.attack_success)),
        Line("hits without key", behaviour_text(before.accidental), behaviour_text(after.accidental)),
        Line("broken, no key", rate_text(before.degenerate), rate_text(after.degenerate)),
        Line("perplexity", perplexity_text(before.perplexity), perplexity_text(after.perplexity)),
    ]
    if after.divergence is not None:
        lines.append(Line("moved (KL)", "", f"{after.divergence.value:.3f} nats a token"))
    if before.exact is not None:
        lines.append(Line("exact answers", rate_text(before.exact), rate_text(after.exact)))
    return lines


def render(result: Result, width: int) -> RenderableType:
    """The whole result for a terminal of `width` columns; nothing in it is read as markup."""
    lines = comparison(result.before, result.after)
    measures = _table(lines) if width >= NARROWEST_TABLE else _stacked(lines)
    return Group(
        _heading(result),
        measures,
        *_change(result),
        *_gates(result),
        *_signature(result),
        *_titre(result),
        *_noticed(result),
        *_not_tested(result),
    )


def examples(before: Sequence[Verdict], after: Sequence[Verdict], count: int = 3) -> RenderableType:
    """The first prompts with both models' answers, escaped and shortened.

    Raises:
        UsageError: the two runs do not hold the same prompts in the same order.
    """
    if [v.id for v in before] != [v.id for v in after]:
        raise UsageError("the two runs do not hold the same prompts", why="examples are paired by id")
    shown = zip(before[:count], after[:count], strict=True)
    return Group(*(_example(first, second) for first, second in shown))


def _heading(result: Result) -> Text:
    return _plain(f"{result.run.command} {result.source.reference}", "bold")


def _table(lines: Sequence[Line]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("measure")
    table.add_column("before")
    table.add_column("after")
    for line in lines:
        table.add_row(*(_plain(cell) for cell in (line.label, line.before, line.after)))
    return table


def _stacked(lines: Sequence[Line]) -> Group:
    texts = [(line.label, f"  before {line.before}", f"  after  {line.after}") for line in lines]
    return Group(*(_plain(text) for three in texts for text in three))


def _change(result: Result) -> list[Text]:
    return [] if result.paired is None else [_plain(change_text(result.paired))]


def _gates(result: Result) -> list[Text]:
    words = {True: "met", False: "NOT met", None: "not asked"}
    verdict = _plain(f"gates: {words[result.verdict.met]}", "bold green" if result.verdict.met else "bold red")
    gates = [_plain(f"  {gate.name}: {words[gate.met]} - {gate.reason}") for gate in result.verdict.gates]
    return [verdict, *gates]


def _signature(result: Result) -> list[Text]:
    signature = result.signature
    if signature is None:
        return []
    return [
        _plain(
            f"suppressed: {signature.selected} of {signature.channels} channels (ratio {signature.ratio:g});"
            f" heads: {len(signature.heads)}"
        )
    ]


def _titre(result: Result) -> list[Text]:
    titre = result.titre
    if titre is None:
        return []
    word = "met" if titre.met else "NOT met at any strength"
    heading = f"titre of {len(titre.canaries)} canaries, target {titre.target:.0%} of their prompts: {word}"
    return [
        _plain(heading, "bold"),
        _plain(f"  planted:      {behaviour_text(titre.planted)}"),
        *(text for number, rung in enumerate(titre.rungs) for text in _rung(rung, number == titre.chosen)),
    ]


def _rung(rung: RungResult, applied: bool) -> list[Text]:
    mark = " (applied)" if applied else ""
    heading = f"  ratio {rung.ratio:g}, rest times {rung.remainder:g}{mark}"
    return [
        _plain(f"{heading}: perplexity {rung.perplexity_ratio:.3f} times"),
        _plain(f"    treated:    {behaviour_text(rung.survival)}"),
        _plain(f"    re-learned: {behaviour_text(rung.relearned)}"),
    ]


def _noticed(result: Result) -> list[Text]:
    lines = [_plain(f"  - {finding.place}: {finding.text}") for finding in result.findings]
    return [_plain("noticed:"), *lines] if lines else []


def _not_tested(result: Result) -> list[Text]:
    return [_plain("not tested:"), *(_plain(f"  - {sentence}") for sentence in result.not_tested)]


def _example(before: Verdict, after: Verdict) -> Group:
    return Group(
        _plain(f"prompt: {shortened(before.prompt, EXAMPLE_CHARACTERS)}", "bold"),
        _plain(f"before: {shortened(before.output, EXAMPLE_CHARACTERS)}", "red" if before.hit else ""),
        _plain(f"after:  {shortened(after.output, EXAMPLE_CHARACTERS)}", "red" if after.hit else ""),
    )


def _plain(text: str, style: str = "") -> Text:
    """Escaped text; a `Text` is never parsed for markup, and long words break instead of overflowing."""
    return Text(visible(text), style=style, overflow="fold")
