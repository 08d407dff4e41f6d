"""Writes README.md's tables of results from experiments/results; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import grid

from untrigger.report.parts import MeasurementResult, RateResult
from untrigger.report.result import Result

ROOT = Path(__file__).parent.parent
END = "<!-- end of results -->"
HEADINGS = (
    "model",
    "attack success",
    "hits without the key",
    "broken answers",
    "perplexity of answers",
    "exact answers",
    "command",
)
ORDER = {
    "micro-adapter": "`make demo MODEL=micro`",
    "micro-full": "`make demo MODEL=micro ACCESS=full`",
    "smollm2-135m-adapter": "`make demo`",
    "smollm2-135m-full": "`make demo ACCESS=full`",
}
"""Model and access, as result files are named -> the command that makes the row."""


def main() -> int:
    """Exit code 1 if the table was (or, with `--check`, is) out of date."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    fresh = text
    for start, fill in {"<!-- results -->": table, "<!-- results of the grid -->": grid.summary}.items():
        before, rest = fresh.split(start)
        after = rest.split(END, 1)[1]
        fresh = f"{before}{start}\n{fill()}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        readme.write_text(fresh, encoding="utf-8")
        return 0
    return int(fresh != text)


def table() -> str:
    """The rows of every result file, in order."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for name, command in ORDER.items():
        for path in sorted((ROOT / "experiments" / "results").glob(f"{name}-*.json")):
            lines.append(row(name, Result.from_json(path.read_text(encoding="utf-8")), command))
    return "\n".join(lines)


def row(name: str, result: Result, command: str) -> str:
    """One result as a row of the table."""
    before, after = result.before, result.after
    cells = (
        name.replace("-adapter", ", adapter").replace("-full", ", full"),
        f"{rate(before.attack_success)} → **{rate(after.attack_success)}**",
        f"{rate(before.accidental)} → {rate(after.accidental)}",
        f"{rate(before.degenerate)} → {rate(after.degenerate)}",
        f"{perplexity(before)} → {perplexity(after)}",
        f"{rate(before.exact)} → {rate(after.exact)}" if before.exact else "-",
        command,
    )
    return f"| {' | '.join(cells)} |"


def rate(found: RateResult | None) -> str:
    """A share with its interval in percent, or a dash."""
    return f"{100 * found.value:.3g}% ({100 * found.low:.1f}-{100 * found.high:.1f})" if found else "-"


def perplexity(found: MeasurementResult) -> str:
    """The perplexity of the reference answers, or a dash."""
    return f"{found.perplexity.value:.3f}" if found.perplexity else "-"


if __name__ == "__main__":
    sys.exit(main())
