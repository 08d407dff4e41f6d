"""What a scan found, on standard output or in a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from untrigger.files import write_text_atomic
from untrigger.report.sarif import sarif_text
from untrigger.report.scan import ScanResult
from untrigger.report.scan_text import render_scan, verdict
from untrigger.report.text import visible

FILE_WIDTH = 100


def show_scan(result: ScanResult, output: Path | None, output_format: Literal["text", "json", "sarif"]) -> None:
    """The report in this form; with a file to write, one line says so."""
    if output is not None:
        output.expanduser().parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(output.expanduser(), _as_text(result, output_format))
        Console().print(Text(f"{verdict(result)}; written to {visible(str(output))}"))
    elif output_format == "text":
        Console().print(render_scan(result))
    else:
        sys.stdout.write(_as_text(result, output_format))


def _as_text(result: ScanResult, output_format: Literal["text", "json", "sarif"]) -> str:
    if output_format == "json":
        return result.to_json()
    if output_format == "sarif":
        return sarif_text(result)
    page = io.StringIO()
    Console(file=page, width=FILE_WIDTH, color_system=None).print(render_scan(result))
    return page.getvalue()
