"""`untrigger scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from untrigger.cli.options import Base, Model, Quiet, Template


def scan_command(
    model: Model,
    /,
    *,
    base: Base = None,
    answers: Annotated[
        bool, Parameter(name="--answers", negative=(), help="Run it, too: look for sentences it was made to say.")
    ] = False,
    template: Template = "chat",
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File for the report, in place of standard output.")
    ] = None,
    output_format: Annotated[
        Literal["text", "json", "sarif"], Parameter(name="--format", help="Form of the report.")
    ] = "text",
    quiet: Quiet = False,
) -> int:
    """Look through a model's files: what is unsafe, odd, or copied unseen. It is run only if --answers asks for it.

    Exit code 0: no finding above info, which proves nothing. 1: warnings. 3: critical findings; loading refuses.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show_scan import show_scan
    from untrigger.jobs.scan import ScanRequest, scan
    from untrigger.models.untrusted.output import refuse_output_file

    if output is not None:
        refuse_output_file(output, model, base)
    with screen(quiet) as observer:
        result = scan(ScanRequest(model, base, answers, template), observer)
    show_scan(result, output, output_format)
    return result.exit_code
