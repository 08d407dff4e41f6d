"""`untrigger evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import (
    Attack,
    Base,
    Behaviour,
    Device,
    Dtype,
    Format,
    Model,
    Prompts,
    Quiet,
    Template,
    TrustNamedBase,
)
from untrigger.config import MeasureOptions

DEFAULTS = MeasureOptions()


def evaluate_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    base: Base = None,
    attack: Attack = None,
    behaviour: Behaviour = None,
    prompts: Prompts = None,
    rows: Annotated[Path | None, Parameter(help="File for one JSON line a prompt.")] = None,
    template: Template = "chat",
    seed: int = 0,
    trust_named_base: TrustNamedBase = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[MeasureOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Measure a model: attack success of a known backdoor, accidental and degenerate answers, perplexity."""
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_measurement
    from untrigger.jobs.evaluate import EvaluateRequest, evaluate

    request = EvaluateRequest(
        model=model,
        base=base,
        attack=attack,
        behaviour=behaviour,
        prompts=prompts,
        rows=rows,
        template=template,
        seed=seed,
        trust_named_base=trust_named_base,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        found = evaluate(request, options, observer)
    show_measurement(found, output_format, f"measured on {model}")
    return 0
