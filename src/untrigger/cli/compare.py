"""`untrigger compare`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import (
    RECIPE,
    AcceptTemplate,
    AllowNonfinite,
    Attack,
    Base,
    Behaviour,
    Data,
    Device,
    Dtype,
    Format,
    Model,
    OtherTemplate,
    Output,
    Prompts,
    Quiet,
    Reference,
    ReplaceTemplate,
    Template,
    TrustNamedBase,
)
from untrigger.config import CompareOptions, PurifyOptions

DEFAULTS = CompareOptions()
TREATMENT = PurifyOptions()


def compare_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    output: Output,
    attack: Attack = None,
    behaviour: Behaviour = None,
    base: Base = None,
    reference: Reference = None,
    data: Data = None,
    prompts: Prompts = None,
    template: Template = "chat",
    other_template: OtherTemplate = False,
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    replace_template: ReplaceTemplate = None,
    allow_nonfinite: AllowNonfinite = False,
    figure: Annotated[bool, Parameter(help="Draw comparison.svg (needs the extra `report`).")] = True,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[CompareOptions, Parameter(name="*")] = DEFAULTS,
    treatment: Annotated[PurifyOptions, Parameter(name="*", group=RECIPE, show_default=False)] = TREATMENT,
) -> int:
    """Run many defences on one suspect whose backdoor is known, and put them in one table.

    The folder OUTPUT gets comparison.json, .csv, .md and .svg. Run the same command again to resume, or with more
    --defences to add them. Exit code 2 if a defence failed; its reason is in the table.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_comparison
    from untrigger.data.locate import optional_data_file
    from untrigger.jobs.compare import compare
    from untrigger.jobs.request import Request

    request = Request(
        model=model,
        output=output,
        base=base,
        data=optional_data_file(data),
        prompts=optional_data_file(prompts),
        attack=attack,
        behaviour=behaviour,
        reference=reference,
        template=template,
        other_template=other_template,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        replace_template=replace_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        result = compare(request, options, treatment, observer, drawn=figure)
    show_comparison(result, output, output_format)
    return 2 if result.failed else 0
