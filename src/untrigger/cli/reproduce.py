"""`untrigger reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import AcceptTemplate, Format, Output, Quiet


def reproduce_command(  # noqa: PLR0913 - one parameter a flag
    record: Annotated[Path, Parameter(help="reproduce.json, or an output of purify or attack that holds it.")],
    /,
    *,
    output: Output,
    model: Annotated[str | None, Parameter(help="Where the recorded model is now.")] = None,
    base: Annotated[str | None, Parameter(help="Where its base is.")] = None,
    reference: Annotated[str | None, Parameter(help="Where the reference is.")] = None,
    data: Annotated[str | None, Parameter(help="Where the clean records are.")] = None,
    prompts: Annotated[str | None, Parameter(help="Where the prompts are.")] = None,
    records: Annotated[str | None, Parameter(help="Where the poisoned records are.")] = None,
    accept_template: AcceptTemplate = False,
    device: Annotated[str | None, Parameter(help="Another device than the recorded one.")] = None,
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
) -> int:
    """Do a recorded job again, on inputs with the recorded hashes, and compare the weights.

    Exit code 0: the weights are bit-equal; 1: they differ. Inputs are looked for where they were named and beside the
    recorded output. Run the same command again to resume after an interruption.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_reproduction
    from untrigger.jobs.reproduce import ReproduceRequest, reproduce

    request = ReproduceRequest(
        record=record,
        output=output,
        model=model,
        base=base,
        reference=reference,
        data=data,
        prompts=prompts,
        records=records,
        device=device,
        accept_template=accept_template,
    )
    with screen(quiet) as observer:
        found = reproduce(request, observer)
    show_reproduction(found, output_format)
    return 0 if found.equal else 1
