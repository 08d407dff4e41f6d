"""`untrigger utility`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    TrustNamedBase,
)
from untrigger.config import UtilityOptions

DEFAULTS = UtilityOptions()


def utility_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    output: Output,
    base: Base = None,
    against: Annotated[
        str | None,
        Parameter(help="Another model (an adapter takes the same --base), or the folder of an earlier result."),
    ] = None,
    data: Annotated[
        str | None,
        Parameter(help="Folder that holds benchmarks/ (default: UNTRIGGER_DATA), or hub to fetch the data sets."),
    ] = None,
    run: Annotated[Path | None, Parameter(help="Folder for unfinished work (default: OUTPUT.run).")] = None,
    keep_run: Annotated[bool, Parameter(help="Keep that folder in the end.", negative="")] = False,
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    allow_nonfinite: AllowNonfinite = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[UtilityOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Run ten utility benchmarks with lm-eval; with --against, say whether the loss is within a budget.

    utility.json, items.jsonl and lm-eval's own files are written to OUTPUT. Run the same command again to go on after
    an interruption. Exit code 1: the average may have lost more than --budget points.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_utility
    from untrigger.jobs.utility import UtilityRequest, utility

    request = UtilityRequest(
        model=model,
        output=output,
        base=base,
        against=against,
        data=data,
        run=run,
        keep_run=keep_run,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        result = utility(request, options, observer)
    show_utility(result, output, output_format)
    return 1 if result.comparison is not None and not result.comparison.verdict.met else 0
