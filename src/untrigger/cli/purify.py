"""`untrigger purify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from untrigger.cli.options import (
    DEFENCE_NAMES,
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
from untrigger.config import Effort, PurifyOptions

DEFAULTS = PurifyOptions()


def purify_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    output: Output,
    base: Base = None,
    data: Data = None,
    prompts: Prompts = None,
    attack: Attack = None,
    behaviour: Behaviour = None,
    defence: Annotated[str, Parameter(help=f"How: {DEFENCE_NAMES} (docs/reference/defences.md).")] = "vaccine",
    reference: Reference = None,
    preset: Annotated[Literal["default", "paper"], Parameter(help="paper: the published recipe.")] = "default",
    effort: Annotated[Effort, Parameter(help="How much to spend (docs/explanation/defaults.md).")] = "standard",
    template: Template = "chat",
    other_template: OtherTemplate = False,
    run: Annotated[Path | None, Parameter(help="Folder for unfinished work (default: OUTPUT.run).")] = None,
    keep_run: Annotated[bool, Parameter(help="Keep that folder in the end.", negative="")] = False,
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    sign: Annotated[Path | None, Parameter(help="Private key (EC, PEM) to sign OUTPUT with (extra `sign`).")] = None,
    replace_template: ReplaceTemplate = None,
    allow_nonfinite: AllowNonfinite = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[PurifyOptions, Parameter(name="*", group=RECIPE, show_default=False)] = DEFAULTS,
) -> int:
    """Remove backdoors from a model or an adapter; neither key nor behaviour need be known.

    The purified copy, with result.json, reproduce.json and a model card, is written to OUTPUT. Run the same command
    again to resume after an interruption. --attack and --behaviour only measure: the treatment never sees them.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_result
    from untrigger.data.locate import optional_data_file
    from untrigger.jobs.purify import purify
    from untrigger.jobs.request import Request
    from untrigger.jobs.sign import check_key
    from untrigger.jobs.sign import sign as sign_output

    if sign is not None:
        check_key(sign)
    request = Request(
        model=model,
        output=output,
        base=base,
        data=optional_data_file(data),
        prompts=optional_data_file(prompts),
        attack=attack,
        behaviour=behaviour,
        defence=defence,
        reference=reference,
        preset=preset,
        effort=effort,
        template=template,
        other_template=other_template,
        run=run,
        keep_run=keep_run,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        replace_template=replace_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        result = purify(request, options, observer)
    if sign is not None:
        sign_output(output, sign)
    show_result(result, output, output_format)
    return 0 if result.verdict.met else 1
