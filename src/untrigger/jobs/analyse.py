"""`untrigger analyse SUSPECT --base BASE`: takes parts of a suspect's update away and sees what is left."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import JsonValue

from untrigger import __version__
from untrigger.analysis.edits import Group
from untrigger.analysis.full_update import full_groups, require_same_shapes
from untrigger.analysis.plan import plan
from untrigger.analysis.reading import readings
from untrigger.analysis.update import adapter_groups
from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.poison import without_keys
from untrigger.backdoors.types import Backdoor
from untrigger.config import AnalyseOptions, TemplateName
from untrigger.data.chat import chat_format
from untrigger.data.records import Record
from untrigger.data.sources import asked_prompts
from untrigger.errors import InputRefused, UsageError
from untrigger.evaluation.measure import Asking, Probe
from untrigger.files import publish_folder
from untrigger.jobs.ablations import Ablations, Found
from untrigger.jobs.evaluate import VOID_BELOW
from untrigger.jobs.finish import scoring_result, source_result
from untrigger.jobs.identity import run_identity, source_identity
from untrigger.jobs.template import require_same_template
from untrigger.models.adapters import is_adapter
from untrigger.models.architecture import ATTENTION_ROLES
from untrigger.models.load import cache_folder, load
from untrigger.models.locate import locate
from untrigger.models.subject import Source, Subject
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.observer import Observer, Silent
from untrigger.report.analysis import (
    FIGURE,
    MARKDOWN,
    RESULT,
    TABLE,
    AnalysisResult,
    ReadingResult,
    csv_text,
    markdown_text,
)
from untrigger.report.analysis_figure import heat_map
from untrigger.report.drawing import require_matplotlib
from untrigger.report.parts import RunResult
from untrigger.report.summary import environment_result
from untrigger.runs import RunFolder, open_run


@dataclass(frozen=True)
class AnalyseRequest:
    """One analysis of a suspect, whole model or adapter, against the base it was trained from.

    `attack` and `behaviour` name the backdoor that is asked for; `prompts` replaces the shipped prompts.
    """

    model: str
    base: str
    output: Path
    attack: str
    behaviour: str
    prompts: Path | None = None
    figure: bool = True
    template: TemplateName = "chat"
    other_template: bool = False
    accept_template: bool = False
    device: str = "auto"
    dtype: str = "auto"

    @property
    def run_folder(self) -> Path:
        """Where unfinished work is kept."""
        return self.output.with_name(self.output.name + ".run")

    def shaping(self) -> dict[str, object]:
        """What decides the result besides the models and the options."""
        names = ("attack", "behaviour", "prompts", "template")
        return {name: value for name, value in vars(self).items() if name in names}


def analyse(
    request: AnalyseRequest, options: AnalyseOptions | None = None, observer: Observer | None = None
) -> AnalysisResult:
    """Attack success, accidental and degenerate answers under every ablation; writes them to `request.output`.

    A diagnostic: it needs the base, and changes neither model.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported, or a base that is not the suspect's.
        UsageError: wrong options or prompts, a suspect that equals its base, or an output folder that exists.
        UntriggerError: matplotlib is missing and a figure is wanted.
        Interrupted: the observer asked to stop; the same call resumes.
    """
    observer, options = observer or Silent(), options or AnalyseOptions()
    backdoor = lookup(request.attack, request.behaviour)
    refuse_output(request.output, request.model, request.base)
    refuse_taken(request.output)
    if request.figure and "blocks" in options.checks:
        require_matplotlib()
    prompts = _prompts(request, backdoor, options)
    subject, base = _loaded(request)
    base_source = subject.source.base if base is None else base.source
    groups = adapter_groups(subject) if base is None else full_groups(subject, base)
    if base_source is None or not groups:
        raise UsageError(f"{request.model} does not differ from {request.base}", todo="name the suspect's own base")
    ablations = plan(len(subject.architecture.layers), options)
    chat = chat_format(subject.tokenizer, request.template)
    require_same_template(subject.source, chat, request.other_template)
    identity = {**run_identity(request.shaping(), options, subject), "base": source_identity(base_source)}
    asking = Asking(subject, chat, backdoor.behaviour, options, observer)
    work = Ablations(base, groups, asking, Probe(tuple(prompts), (), backdoor, options.seed))
    del base  # the work lets go of it as soon as its weights are stored
    with open_run(request.run_folder, identity, work.announce, "--output", observer.note) as run:
        found = work.measured(run, ablations)
        result = _result(request, options, work, base_source, backdoor, found, run)
        _write(request, options, result)
    shutil.rmtree(request.run_folder)
    return result


def _prompts(request: AnalyseRequest, backdoor: Backdoor, options: AnalyseOptions) -> list[Record]:
    asked = without_keys(asked_prompts(request.prompts), [backdoor.key]).kept
    if not asked:
        raise UsageError(
            "no prompt is left to ask", why="all of them hold the key", todo="give others with --prompts"
        )
    return asked[: options.max_prompts]


def _loaded(request: AnalyseRequest) -> tuple[Subject, Subject | None]:
    """The suspect, and the base of a whole model (that of an adapter lies under it)."""
    adapted = is_adapter(locate(request.model, cache_folder()).folder)
    placed = partial(load, device=request.device, dtype=request.dtype, accept_template=request.accept_template)
    subject = placed(request.model, base=request.base) if adapted else placed(request.model)
    if not subject.architecture.roles().intersection(ATTENTION_ROLES):
        raise InputRefused(
            f"{subject.architecture.model_type}: attention and MLP cannot be told apart",
            why="its attention weights are not known by role",
        )
    if adapted:
        return subject, None
    base = placed(request.base)
    require_same_shapes(subject, base)
    return subject, base


def _result(
    request: AnalyseRequest,
    options: AnalyseOptions,
    work: Ablations,
    base: Source,
    backdoor: Backdoor,
    found: Found,
    run: RunFolder,
) -> AnalysisResult:
    subject, chat = work.subject, work.asking.chat
    parameter = next(subject.model.parameters())
    return AnalysisResult(
        run=RunResult(
            command="analyse",
            options={**options.model_dump(mode="json"), "request": _asked(request)},
            version=__version__,
            seeds=(options.seed,),
        ),
        source=source_result(subject.source),
        base=source_result(base),
        access=subject.access,
        blocks=len(subject.architecture.layers),
        groups=tuple(group.value for group in Group if group in work.groups),
        scoring=scoring_result(backdoor, chat, options),
        ablations=found.rows,
        readings=tuple(ReadingResult.model_validate(one) for one in readings(found.outcomes, VOID_BELOW)),
        seconds=sum(cost.seconds for cost in run.costs()),
        environment=environment_result(str(parameter.device), str(parameter.dtype), torch.get_num_threads()),
    )


def _write(request: AnalyseRequest, options: AnalyseOptions, result: AnalysisResult) -> None:
    texts = {RESULT: result.to_json(), TABLE: csv_text(result.ablations), MARKDOWN: markdown_text(result)}
    if request.figure and any(one.span and one.rates for one in result.ablations):
        texts[FIGURE] = heat_map(result.ablations, result.blocks, every=options.starts == "every")

    def build(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")

    publish_folder(build, request.output)


def _asked(request: AnalyseRequest) -> dict[str, JsonValue]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}
