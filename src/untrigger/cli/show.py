"""Results on standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from untrigger.report.parts import MeasurementResult
from untrigger.report.result import Result
from untrigger.report.terminal import render
from untrigger.report.text import perplexity_text, rate_text, visible
from untrigger.report.utility import UtilityResult
from untrigger.report.utility_table import render_utility

OutputFormat = Literal["text", "json"]


def show_result(result: Result, output: Path, output_format: OutputFormat) -> None:
    """The table before and after, or the result as JSON."""
    if output_format == "json":
        sys.stdout.write(result.to_json())
        return
    console = Console()
    console.print(render(result, console.width))
    console.print(Text(f"model, report and reproduce.json: {visible(str(output))}"))


def show_utility(result: UtilityResult, output: Path, output_format: OutputFormat) -> None:
    """The benchmarks as a table, or the result as JSON."""
    if output_format == "json":
        sys.stdout.write(result.to_json())
        return
    console = Console()
    console.print(render_utility(result))
    console.print(Text(f"scores, items and lm-eval's files: {visible(str(output))}"))


def show_measurement(found: MeasurementResult, output_format: OutputFormat, heading: str) -> None:
    """One model's figures, or the same as JSON."""
    if output_format == "json":
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    lines = {
        "attack success": rate_text(found.attack_success),
        "accidental": rate_text(found.accidental),
        "degenerate": rate_text(found.degenerate),
        "perplexity of answers": perplexity_text(found.perplexity),
    }
    if found.exact is not None:
        lines["exact answers"] = rate_text(found.exact)
    console = Console()
    console.print(Text(visible(heading)))
    for name, value in lines.items():
        console.print(Text(f"  {name:22} {value}"))
