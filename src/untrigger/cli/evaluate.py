"""`untrigger evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from untrigger.cli.options import (
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
    Prompts,
    Quiet,
    ReplaceTemplate,
    Template,
    TrustNamedBase,
)
from untrigger.config import Deployed, EvaluateOptions
from untrigger.errors import UsageError

DEFAULTS = EvaluateOptions()


def evaluate_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    base: Base = None,
    attack: Attack = None,
    behaviour: Behaviour = None,
    records: Annotated[str | None, Parameter(help="Prompts that bear a key already; needs --behaviour.")] = None,
    prompts: Prompts = None,
    key_forms: Annotated[bool, Parameter(help="Try the key in other forms and places.", negative="")] = False,
    relearn: Annotated[bool, Parameter(help="Train shortly: does a backdoor come back?", negative="")] = False,
    data: Data = None,
    rows: Annotated[Path | None, Parameter(help="File for a line a prompt: JSON lines, or CSV if so named.")] = None,
    template: Template = "chat",
    other_template: OtherTemplate = False,
    seed: int = 0,
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    replace_template: ReplaceTemplate = None,
    allow_nonfinite: AllowNonfinite = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    deployed: Annotated[
        Deployed | None,
        Parameter(help="Form to measure it in: merged, int4 (an adapter stays unrounded) or int4-merged."),
    ] = None,
    reference: Annotated[
        str | None, Parameter(help="A clean model that watches every token of the answers (CleanGen).")
    ] = None,
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[EvaluateOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Measure a model: attack success of a known backdoor, accidental and degenerate answers, perplexity."""
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_evaluation
    from untrigger.data.locate import optional_data_file
    from untrigger.jobs.evaluate import EvaluateRequest, evaluate

    request = EvaluateRequest(
        model=model,
        base=base,
        attack=attack,
        behaviour=behaviour,
        records=optional_data_file(records),
        prompts=optional_data_file(prompts),
        data=optional_data_file(data),
        rows=rows,
        key_forms=key_forms,
        relearning=relearn,
        template=template,
        other_template=other_template,
        seed=seed,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        replace_template=replace_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
        deployed=deployed,
        reference=reference,
    )
    _refuse_unused(options, relearn=relearn, guarded=reference is not None)
    with screen(quiet) as observer:
        found = evaluate(request, options, observer)
    show_evaluation(found, output_format)
    return 0


def _refuse_unused(options: EvaluateOptions, *, relearn: bool, guarded: bool) -> None:
    """Refuses options that would do nothing: whoever sets one believes that it is measured."""
    for group, flag, given in (("relearning", "--relearn", relearn), ("guard", "--reference", guarded)):
        if group in options.model_fields_set and not given:
            raise UsageError(f"--{group}.* would do nothing without {flag}", todo=f"give {flag}, or leave it out")
