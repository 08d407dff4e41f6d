"""`untrigger analyse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import (
    AcceptTemplate,
    Attack,
    Base,
    Behaviour,
    Device,
    Dtype,
    Format,
    Model,
    OtherTemplate,
    Output,
    Quiet,
    Template,
)
from untrigger.config import AnalyseOptions
from untrigger.errors import UsageError

DEFAULTS = AnalyseOptions()
Signatures = Annotated[
    tuple[Path, ...],
    Parameter(
        help="Compare these signatures instead: folders of signatures, or run folders that hold one.",
        consume_multiple=True,
        negative="",
    ),
]


def analyse_command(  # noqa: PLR0913 - one parameter a flag
    model: Model | None = None,
    /,
    *,
    output: Output,
    base: Base = None,
    attack: Attack = None,
    behaviour: Behaviour = None,
    signatures: Signatures = (),
    prompts: Annotated[str | None, Parameter(help="Prompts to ask instead of the shipped ones.")] = None,
    figure: Annotated[bool, Parameter(help="Draw the block ablation (needs matplotlib).")] = True,
    template: Template = "chat",
    other_template: OtherTemplate = False,
    accept_template: AcceptTemplate = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[AnalyseOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Take parts of a suspect's update away and see whether the backdoor stays; or compare signatures."""
    if signatures:
        if model is not None:
            raise UsageError("--signatures takes no suspect", todo="leave one of the two out")
        return _signatures(signatures, output, output_format)
    if model is None:
        raise UsageError("nothing is given to analyse", todo="name a suspect, or --signatures FOLDER FOLDER")
    if base is None or attack is None or behaviour is None:
        missing = [f"--{n}" for n, v in (("base", base), ("attack", attack), ("behaviour", behaviour)) if v is None]
        raise UsageError(
            f"{', '.join(missing)} missing", why="an ablation takes a known backdoor apart, against the base"
        )
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_analysis
    from untrigger.data.locate import optional_data_file
    from untrigger.jobs.analyse import AnalyseRequest, analyse

    request = AnalyseRequest(
        model=model,
        base=base,
        output=output,
        attack=attack,
        behaviour=behaviour,
        prompts=optional_data_file(prompts),
        figure=figure,
        template=template,
        other_template=other_template,
        accept_template=accept_template,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        result = analyse(request, options, observer)
    show_analysis(result, output, output_format)
    return 0


def _signatures(folders: tuple[Path, ...], output: Path, output_format: Format) -> int:
    from untrigger.cli.show import show_anatomy
    from untrigger.jobs.anatomy import anatomy

    show_anatomy(anatomy(folders, output), output, output_format)
    return 0
