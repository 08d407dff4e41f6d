"""A comparison as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from untrigger.report.comparison import Row, pareto
from untrigger.report.drawing import svg_text
from untrigger.report.text import shortened, visible

WIDE = 3.0
"""Ratios that differ by more are drawn on a logarithmic axis."""
LONGEST_NAME = 40
"""Characters of a name that are drawn; other than ASCII as codes, since the font may lack them."""


def figure(rows: Sequence[Row]) -> str:
    """Attack success with its interval against perplexity, as SVG; the best trade-offs are joined by a line.

    Broken models are drawn hollow and red: they are no wins.
    """
    from matplotlib.figure import Figure  # an extra, and slow to import

    drawing = Figure(figsize=(8, 5), layout="constrained")
    axes = drawing.add_subplot()
    for row in rows:
        share = 100 * row.attack_success
        bar = [[max(share - 100 * row.attack_success_low, 0)], [max(100 * row.attack_success_high - share, 0)]]
        colour, fill = ("C3", "none") if row.verdict else ("C0", "C0")
        axes.errorbar(row.perplexity_ratio, share, yerr=bar, fmt="o", color=colour, markerfacecolor=fill, lw=1)
        point = (row.perplexity_ratio, share)
        name = visible(shortened(row.defence, LONGEST_NAME)).encode("ascii", "backslashreplace").decode()
        # Without its own language for formulas, which a dollar sign would begin.
        axes.annotate(name, point, xytext=(5, 4), textcoords="offset points", fontsize=8, parse_math=False)
    front = pareto(rows[1:])
    axes.plot([row.perplexity_ratio for row in front], [100 * row.attack_success for row in front], "C0--", lw=1)
    ratios = [row.perplexity_ratio for row in rows]
    if max(ratios) > WIDE * min(ratios):
        axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.set_xlabel("perplexity of clean answers, times the suspect's")
    axes.set_ylabel("attack success, % (95 % interval)")
    axes.set_ylim(-3, 103)
    return svg_text(drawing)
