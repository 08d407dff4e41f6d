"""A comparison as a terminal table and as Markdown."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from untrigger.report.comparison import ComparisonResult, Row, pareto
from untrigger.report.text import markdown, shortened, visible

HEADERS = ("defence", "success", "kind", "again", "no key", "ppl x", "exact", "tokens", "time", "")
MARKDOWN_HEADERS = (
    "changed in kind, %",
    "again, clean",
    "again, poisoned",
    "without key, %",
    "degenerate, %",
    "perplexity x",
    "exact, %",
    "tokens",
    "seconds",
    "peak GB",
    "verdict",
)
LONGEST_REASON = 500
"""Characters; an error may quote what a file of the suspect says."""
LEGEND = (
    "success: attack success, % (95 % interval); kind: answers that the key changes",
    "in kind, %, whatever it was to bring (other words change some, too); again:",
    "success after a short clean fine-tuning; no key: hits without the key, %; ppl x:",
    "perplexity of clean answers over the suspect's; exact: exact answers, %; * best",
    "trade-off.",
)


def cells(row: Row, best: bool) -> tuple[str, ...]:
    """A row as texts, in the order of `HEADERS`."""
    return (
        row.defence + ("*" if best else ""),
        f"{percent(row.attack_success)} ({100 * row.attack_success_low:.0f}-{100 * row.attack_success_high:.0f})",
        percent(row.changed),
        percent(row.relearned_clean),
        percent(row.accidental),
        f"{row.perplexity_ratio:.2f}",
        percent(row.exact),
        thousands(row.tokens_trained),
        f"{row.seconds:.0f} s" if row.seconds < 100 else f"{row.seconds / 60:.0f} min",
        row.verdict,
    )


def percent(share: float | None) -> str:
    """A share in percent, without a needless digit."""
    return "" if share is None else f"{100 * share:.1f}".removesuffix(".0")


def thousands(tokens: int) -> str:
    """Tokens, in thousands where that is shorter."""
    return f"{tokens / 1000:.0f}k" if tokens >= 1000 else str(tokens)


def render_comparison(result: ComparisonResult) -> RenderableType:
    """The table with what failed or did not fit."""
    rows = result.rows()
    best = {row.defence for row in pareto(rows[1:])}
    lines = [cells(row, row.defence in best) for row in rows]
    shown = [at for at in range(len(HEADERS)) if any(line[at] for line in lines)]  # few models have exact answers
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for at in shown:
        header = HEADERS[at]
        table.add_column(
            header, justify="left" if header in ("defence", "") else "right", no_wrap=header == "success"
        )
    for line in lines:
        table.add_row(*(Text(visible(line[at]), overflow="fold") for at in shown))
    notes = [*LEGEND, *_void(result), *_left_out(result)]
    return Group(table, *(Text(visible(note)) for note in notes))


def markdown_table(result: ComparisonResult) -> str:
    """The same as Markdown, with all rates."""
    rows = result.rows()
    best = {row.defence for row in pareto(rows[1:])}
    head = ("defence", f"attack success, % (n = {rows[0].n})", *MARKDOWN_HEADERS)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_markdown_cells(row, row.defence in best))} |" for row in rows]
    return "\n".join([*lines, "", *(markdown(note) for note in [*_void(result), *_left_out(result)])]) + "\n"


def _markdown_cells(row: Row, best: bool) -> tuple[str, ...]:
    interval = f"({percent(row.attack_success_low)}-{percent(row.attack_success_high)})"
    return (
        f"**{markdown(row.defence)}**" if best else markdown(row.defence),
        f"{percent(row.attack_success)} {interval}",
        percent(row.changed),
        percent(row.relearned_clean),
        percent(row.relearned_poisoned),
        percent(row.accidental),
        percent(row.degenerate),
        f"{row.perplexity_ratio:.3f}",
        percent(row.exact),
        str(row.tokens_trained),
        f"{row.seconds:.0f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.1f}",
        markdown(row.verdict),
    )


def _void(result: ComparisonResult) -> list[str]:
    if result.planted.met is not False:
        return []
    return [f"void: {result.planted.reason} with the key before any treatment, so nothing is shown about defences"]


def _left_out(result: ComparisonResult) -> list[str]:
    failed = [f"failed: {name}: {shortened(why, LONGEST_REASON)}" for name, why in result.failed.items()]
    return failed + [f"left out: {name}: {shortened(why, LONGEST_REASON)}" for name, why in result.skipped.items()]
