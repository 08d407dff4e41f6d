"""From what a user asks for to a loaded suspect and the options in force."""

from __future__ import annotations

from untrigger.backdoors.synthetic import known_families, known_kinds
from untrigger.config import Effort, PurifyOptions, RenewalOptions
from untrigger.data.chat import ChatFormat, chat_format
from untrigger.data.readers import read_records
from untrigger.defences.interface import Defence
from untrigger.errors import UsageError
from untrigger.jobs.request import Request
from untrigger.jobs.template import require_same_template
from untrigger.models.adapters import is_adapter
from untrigger.models.architecture import Architecture
from untrigger.models.load import load
from untrigger.models.locate import cache_folder, locate
from untrigger.models.merge import require_mixable
from untrigger.models.subject import Subject
from untrigger.presets import effort_options, merged

READ_BY_ALL = frozenset({"seed", "measure", "gate"})
"""Groups of options that concern every defence."""


def check_files(request: Request, options: PurifyOptions) -> None:
    """Reads the records' files and the families' names, so that what is wrong is told before any work."""
    for file, need_output in ((request.data, True), (request.prompts, False)):
        if file is not None:
            read_records(file, require_output=need_output)
    known_families(options.variants.families)
    known_kinds(options.variants.kinds)


def open_suspect(request: Request) -> tuple[Subject, ChatFormat]:
    """The suspect, under the template it was trained with.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: a missing or needless base, or another template.
    """
    subject = load(
        request.model,
        base=request.base,
        device=request.device,
        dtype=request.dtype,
        allow_base_from_config=request.trust_named_base,
        accept_template=request.accept_template,
        replace_template=request.replace_template,
        allow_nonfinite=request.allow_nonfinite,
    )
    chat = chat_format(subject.tokenizer, request.template)
    require_same_template(subject.source, chat, request.other_template)
    return subject, chat


def load_reference(request: Request, subject: Subject) -> Subject | None:
    """The model that is taken to be clean, if one is named.

    Raises:
        UsageError: it is an adapter, or not of the suspect's shapes.
    """
    if request.reference is None:
        return None
    reference = open_reference(request.reference, request.device, request.dtype)
    require_mixable(subject, reference)
    return reference


def open_reference(reference: str, device: str, dtype: str) -> Subject:
    """A whole model that is taken to be clean.

    Raises:
        InputRefused: a model that is unsafe, broken or unsupported.
        UsageError: it is an adapter.
    """
    if is_adapter(locate(reference, cache_folder()).folder):
        raise UsageError(f"{reference} is an adapter", todo="name a whole model with --reference")
    return load(reference, device=device, dtype=dtype)


def options_in_force(
    chosen: Defence, subject: Subject, given: PurifyOptions, effort: Effort = "standard"
) -> PurifyOptions:
    """The defence's recipe for this subject, with what the effort sets and then what was set explicitly.

    Raises:
        UsageError: the defence is not for this setting, or an option is not.
    """
    if subject.access not in chosen.settings:
        only = " or ".join(sorted(chosen.settings))
        raise UsageError(f"{chosen.name} is no defence for the {subject.access} setting", why=f"it is for {only}")
    recipe = merged(chosen.recipe(subject.architecture, subject.access), effort_options(effort, subject.access))
    options = merged(recipe, given)
    if subject.access == "full" and options.suppress.remainder != 1:
        raise UsageError(
            "--suppress.remainder scales an adapter's update", why="this is a whole model", todo="leave it out"
        )
    whole = subject.access == "full" and "full" not in chosen.needs_reference
    if whole and options.renewal.model_dump() != RenewalOptions().model_dump():
        raise UsageError(
            "--renewal makes an adapter's update smaller",
            why="this is a whole model",
            todo="leave it out, or name its base with --defence renewal-only --reference BASE",
        )
    if not options.renewal.records and options.renewal.train != RenewalOptions().train:
        raise UsageError(
            "--renewal.train.* would do nothing", why="nothing is trained", todo="set --renewal.records as well"
        )
    through = (options.unlearning.through, options.variants.through, options.repair.through)
    if subject.access == "adapter" and "adapter" in through:
        raise UsageError(
            "--unlearning.through, --variants.through and --repair.through are for whole models",
            why="this is an adapter, which is trained itself",
            todo="leave them out",
        )
    _require_heads(subject.architecture, options)
    chosen.check(subject.architecture, options)
    return options


def refuse_unread(chosen: Defence, subject: Subject, given: PurifyOptions) -> None:
    """Refuses options that the defence does not read; one that repeats what is in force anyway may stay.

    Raises:
        UsageError: there are such options.
    """
    recipe = chosen.recipe(subject.architecture, subject.access)
    options = merged(recipe, given)
    others = sorted(given.model_fields_set - chosen.reads - READ_BY_ALL)
    changed = [name for name in others if getattr(options, name) != getattr(recipe, name)]
    if changed:
        flags = ", ".join(f"--{name.replace('_', '-')}.*" for name in changed)
        raise UsageError(f"{flags} would do nothing", why=f"{chosen.name} does not read it", todo="leave it out")


def _require_heads(architecture: Architecture, options: PurifyOptions) -> None:
    asked, held = options.signature.heads, architecture.query_heads * len(architecture.layers)
    if asked > held:
        raise UsageError(f"--signature.heads is {asked}", why=f"the model has only {held}", todo="ask for fewer")
