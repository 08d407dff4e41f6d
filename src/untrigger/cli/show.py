"""Results on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from untrigger.report.analysis import AnalysisResult
from untrigger.report.analysis_table import render_analysis
from untrigger.report.anatomy import AnatomyResult, render_anatomy
from untrigger.report.comparison import ComparisonResult
from untrigger.report.comparison_table import render_comparison
from untrigger.report.evaluation import EvaluationResult
from untrigger.report.measures import evaluation_sections, measures
from untrigger.report.mt_bench import AnsweredResult, MtBenchResult, render_mt_bench
from untrigger.report.parts import MeasurementResult
from untrigger.report.provenance import PushResult, ReproductionResult, Verification
from untrigger.report.provenance_text import push_lines, reproduction_lines, verification_lines
from untrigger.report.result import Result
from untrigger.report.terminal import render
from untrigger.report.text import visible
from untrigger.report.utility import UtilityResult
from untrigger.report.utility_table import render_utility

OutputFormat = Literal["text", "json"]


def show_result(result: Result, output: Path, output_format: OutputFormat) -> None:
    """The table before and after, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render(result, console.width))
    console.print(Text(f"model, report and reproduce.json: {visible(str(output))}"))


def show_comparison(result: ComparisonResult, output: Path, output_format: OutputFormat) -> None:
    """The table of defences, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render_comparison(result))
    console.print(Text(f"comparison.json, .csv, .md and the figure: {visible(str(output))}"))


def show_written(output: Path, output_format: OutputFormat) -> None:
    """Where something was written that was not measured."""
    if _written_as_json(json.dumps({"output": str(output)}) + "\n", output_format):
        return
    Console().print(Text(f"written, not measured: {visible(str(output))}"))


def show_utility(result: UtilityResult, output: Path, output_format: OutputFormat) -> None:
    """The benchmarks as a table, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render_utility(result))
    console.print(Text(f"scores, items and lm-eval's files: {visible(str(output))}"))


def show_analysis(result: AnalysisResult, output: Path, output_format: OutputFormat) -> None:
    """The ablations as a table, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render_analysis(result))
    console.print(Text(f"tables and figure: {visible(str(output))}"))


def show_anatomy(result: AnatomyResult, output: Path, output_format: OutputFormat) -> None:
    """Signatures and their overlaps as tables, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render_anatomy(result))
    console.print(Text(f"tables: {visible(str(output))}"))


def show_measurement(found: MeasurementResult, output_format: OutputFormat, heading: str) -> None:
    """One model's figures, or the same as JSON."""
    if _written_as_json(found.model_dump_json(indent=2) + "\n", output_format):
        return
    console = Console()
    console.print(Text(visible(heading)))
    _print_lines(console, measures(found))


def show_evaluation(found: EvaluationResult, output_format: OutputFormat) -> None:
    """Everything that was measured on one model, or the same as JSON."""
    if _written_as_json(found.to_json(), output_format):
        return
    console = Console()
    console.print(Text(visible(f"measured on {found.source.reference}")))
    for heading, lines in evaluation_sections(found):
        if heading:
            console.print(Text(visible(heading)))
        _print_lines(console, lines)


def _written_as_json(text: str, output_format: OutputFormat) -> bool:
    """Writes the text, which is JSON, if that is the format asked for."""
    if output_format == "json":
        sys.stdout.write(text)
    return output_format == "json"


def _print_lines(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        console.print(Text(f"  {visible(name):{width}}  {visible(value)}"))


def show_answers(found: AnsweredResult, output: Path, output_format: OutputFormat) -> None:
    """What became of the questions of MT-Bench, not judged yet."""
    if _written_as_json(found.model_dump_json(indent=2) + "\n", output_format):
        return
    console = Console()
    console.print(
        Text(f"{found.questions} questions answered, {found.failed} with an error; {found.cut} answers reached their")
        + Text(f" longest length\nin {visible(str(output))}; --judge-url and --judge-model have them judged")
    )


def show_mt_bench(result: MtBenchResult, file: Path, output_format: OutputFormat) -> None:
    """The table of ratings, or the result as JSON."""
    if _written_as_json(result.to_json(), output_format):
        return
    console = Console()
    console.print(render_mt_bench(result))
    console.print(Text(f"written to {visible(str(file))}"))


def show_verification(found: Verification, output_format: OutputFormat) -> None:
    """What differs from what was written, or the same as JSON."""
    if not _written_as_json(found.to_json(), output_format):
        _print_all(verification_lines(found))


def show_reproduction(found: ReproductionResult, output_format: OutputFormat) -> None:
    """Whether the weights are equal, or the same as JSON."""
    if not _written_as_json(found.to_json(), output_format):
        _print_all(reproduction_lines(found))


def show_pushed(pushed: PushResult, output_format: OutputFormat) -> None:
    """Where the output is on the hub, or the same as JSON."""
    if not _written_as_json(pushed.to_json(), output_format):
        _print_all(push_lines(pushed))


def show_signed(signature: Path, output_format: OutputFormat) -> None:
    """Where the signature lies."""
    if not _written_as_json(json.dumps({"signature": str(signature)}) + "\n", output_format):
        _print_all([f"signed: {visible(str(signature))}"])


def _print_all(lines: Iterable[str]) -> None:
    console = Console()
    for line in lines:
        console.print(Text(line))
