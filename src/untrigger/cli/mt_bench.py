"""`untrigger mt-bench`."""

from __future__ import annotations

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
from untrigger.config import MtBenchOptions

DEFAULTS = MtBenchOptions()


def mt_bench_command(  # noqa: PLR0913 - one parameter a flag
    model: Model,
    /,
    *,
    output: Output,
    judge_url: Annotated[
        str | None, Parameter(help="Server with OpenAI's chat interface, as http://127.0.0.1:8000/v1.")
    ] = None,
    judge_model: Annotated[str | None, Parameter(help="The judge's name on that server.")] = None,
    judge_key_variable: Annotated[
        str | None, Parameter(help="Environment variable that holds the key; the key is never stored.")
    ] = None,
    allow_remote_http: Annotated[
        bool, Parameter(help="Send everything, the key too, unencrypted to another machine.", negative="")
    ] = False,
    mode: Annotated[Literal["single", "pairwise"], Parameter(help="Rate answers, or compare them.")] = "single",
    compare: Annotated[Path | None, Parameter(help="Output folder of another model, the baseline.")] = None,
    data: Annotated[
        Path | None, Parameter(help="Folder that holds benchmarks/mt_bench (default: UNTRIGGER_DATA).")
    ] = None,
    references: Annotated[
        Path | None, Parameter(help="Reference answers (default: reference_answer_gpt-4.jsonl).")
    ] = None,
    parser: Annotated[
        Literal["strict", "fastchat"], Parameter(help="How ratings are read; fastchat: as the original does.")
    ] = "strict",
    base: Base = None,
    template: Template = "chat",
    trust_named_base: TrustNamedBase = False,
    accept_template: AcceptTemplate = False,
    allow_nonfinite: AllowNonfinite = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    output_format: Annotated[Format, Parameter(name="--format")] = "text",
    quiet: Quiet = False,
    options: Annotated[MtBenchOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Answer the 80 questions of MT-Bench, two turns each, and have the answers judged.

    Answers go to OUTPUT, judgements to OUTPUT/single or OUTPUT/pairwise. Run the same command again to resume: no
    call is repeated. Without a judge only the answers are made. 160 calls for a model, 320 for a comparison.
    """
    from untrigger.cli.screen import screen
    from untrigger.cli.show import show_answers, show_mt_bench
    from untrigger.jobs.mt_bench import RESULT, MtBenchRequest, mt_bench
    from untrigger.report.mt_bench import AnsweredResult

    request = MtBenchRequest(
        model=model,
        output=output,
        base=base,
        judge_url=judge_url,
        judge_model=judge_model,
        judge_key_variable=judge_key_variable,
        allow_remote_http=allow_remote_http,
        mode=mode,
        compare=compare,
        data=data,
        references=references,
        parser=parser,
        template=template,
        trust_named_base=trust_named_base,
        accept_template=accept_template,
        allow_nonfinite=allow_nonfinite,
        device=device,
        dtype=dtype,
    )
    with screen(quiet) as observer:
        found = mt_bench(request, options, observer)
    if isinstance(found, AnsweredResult):
        show_answers(found, output, output_format)
        return 0
    show_mt_bench(found, output / mode / RESULT, output_format)
    return 0 if found.published else 1
