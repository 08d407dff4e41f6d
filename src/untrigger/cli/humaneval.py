"""`untrigger humaneval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from untrigger.cli.options import (
    AcceptTemplate,
    AllowNonfinite,
    Base,
    Device,
    Dtype,
    Format,
    Model,
    Output,
    Quiet,
    Template,
    TrustNamedBase,
)
from untrigger.config import HumanEvalOptions

DEFAULTS = HumanEvalOptions()


def humaneval_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    output: Output,
    allow_code_execution: Annotated[bool, Parameter(help="Needed: the model's code is run.", negative="")] = False,
    data: Annotated[
        Path | None,
        Parameter(help="Folder that holds benchmarks/humaneval.jsonl.", env_var="UNTRIGGER_DATA"),
    ] = None,
    against: Annotated[Path | None, Parameter(help="Output of an earlier measurement to compare with.")] = None,
    prompt: Annotated[
        Literal["chat", "completion"],
        Parameter(help="chat: asked for the function through the template; completion: the bare text is continued."),
    ] = "chat",
    limit: Annotated[int | None, Parameter(help="Ask the first so many problems only.")] = None,
    workers: Annotated[int, Parameter(help="Programs run at once.")] = 1,
    base: Base = None,
    template: Template = "chat",
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    allow_nonfinite: AllowNonfinite = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[HumanEvalOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Measure pass@1 on HumanEval: the model's code is run, contained, so it must be allowed."""
    from rich.console import Console
    from rich.text import Text

    from untrigger.cli.screen import screen
    from untrigger.jobs.humaneval import HumanEvalRequest, humaneval
    from untrigger.report.humaneval import summary_lines

    request = HumanEvalRequest(
        model=model,
        output=output,
        data=data,
        allow_code_execution=allow_code_execution,
        base=base,
        against=against,
        prompt=prompt,
        template=template,
        limit=limit,
        workers=workers,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
    )
    warnings = Console(stderr=True)
    with screen(quiet) as observer:
        result = humaneval(request, options, observer, lambda text: warnings.print(Text(f"warning: {text}")))
    if output_format == "json":
        sys.stdout.write(result.to_json())
        return 0
    console = Console()
    for line in summary_lines(result):
        console.print(Text(line))
    console.print(Text(f"  files         {output}"))
    return 0
