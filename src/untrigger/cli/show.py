"""Results on standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from untrigger.report.mt_bench import AnsweredResult, MtBenchResult, render_mt_bench
from untrigger.report.parts import MeasurementResult
from untrigger.report.result import Result
from untrigger.report.terminal import render
from untrigger.report.text import perplexity_text, rate_text, visible

OutputFormat = Literal["text", "json"]


def show_result(result: Result, output: Path, output_format: OutputFormat) -> None:
    """The table before and after, or the result as JSON."""
    if output_format == "json":
        sys.stdout.write(result.to_json())
        return
    console = Console()
    console.print(render(result, console.width))
    console.print(Text(f"model, report and reproduce.json: {visible(str(output))}"))


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


def show_answers(found: AnsweredResult, output: Path, output_format: OutputFormat) -> None:
    """What became of the questions of MT-Bench, not judged yet."""
    if output_format == "json":
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    console = Console()
    console.print(
        Text(f"{found.questions} questions answered, {found.failed} with an error; {found.cut} answers reached their")
        + Text(f" longest length\nin {visible(str(output))}; --judge-url and --judge-model have them judged")
    )


def show_mt_bench(result: MtBenchResult, file: Path, output_format: OutputFormat) -> None:
    """The table of ratings, or the result as JSON."""
    if output_format == "json":
        sys.stdout.write(result.to_json())
        return
    console = Console()
    console.print(render_mt_bench(result))
    console.print(Text(f"written to {visible(str(file))}"))
