"""`untrigger scan`: looks through a model's files as loading does, and goes on after what loading would refuse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrigger import __version__
from untrigger.config import TemplateName
from untrigger.data.chat import chat_format
from untrigger.data.sources import shipped_instructions
from untrigger.errors import InputRefused, Interrupted, UsageError
from untrigger.inspection.adapters import (
    Grams,
    ModuleUpdate,
    check_settings,
    check_tensors,
    module_updates,
    tell_of_updates,
)
from untrigger.inspection.findings import Collector, ScanFinding, in_order
from untrigger.inspection.folders import FileEntry, check_files, copied_files, files_read, inventory
from untrigger.inspection.rules import Severity
from untrigger.inspection.settings import check_configuration, check_generation
from untrigger.inspection.templates import check_templates
from untrigger.inspection.tokenizers import check_tokenizer
from untrigger.inspection.weights import Kept, check_headers, check_values
from untrigger.inversion.key_words import call_told, words_that_call
from untrigger.inversion.planted import planted_sentences
from untrigger.models.adapters import is_adapter
from untrigger.models.checkpoint import ADAPTER, MODEL, WeightFiles
from untrigger.models.configuration import Configuration, empty_model
from untrigger.models.load import load, quiet
from untrigger.models.locate import cache_folder, locate
from untrigger.models.subject import Source
from untrigger.models.tokenizer_files import adapter_tokenizer, has_own_tokenizer
from untrigger.models.untrusted.folder import entries_of
from untrigger.models.untrusted.network import no_network
from untrigger.observer import Observer, Silent
from untrigger.presets import default_options
from untrigger.report.scan import FileResult, Kind, ScanFindingResult, ScanResult, UpdateResult, limits_of

BASE = "base/"


@dataclass(frozen=True)
class ScanRequest:
    """What is looked through: a model, or an adapter with or without its base; its answers if they are asked for."""

    model: str
    base: str | None = None
    answers: bool = False
    template: TemplateName = "chat"


@dataclass(frozen=True)
class Scanned:
    """One folder, looked through."""

    findings: tuple[ScanFinding, ...]
    files: tuple[FileEntry, ...] = ()
    tensors: int = 0
    bytes: int = 0
    updates: tuple[ModuleUpdate, ...] = ()
    configuration: Configuration | None = None
    asked: bool = False
    """Whether the model was run."""


def scan(request: ScanRequest, observer: Observer | None = None) -> ScanResult:
    """Every finding about the files of a model, or of an adapter and its base if one is named.

    Nothing of the model is run unless its answers are asked for, and no file of it is changed. Then sentences are
    looked for that it completes whatever it is asked, if nothing critical was found before.

    Raises:
        InputRefused: a folder that cannot be read.
        UsageError: a reference that is nothing we know, a folder with several models, or an adapter whose answers
            are asked for without its base.
        UntriggerError: network, disk; anything that tries to reach the network once the files are here.
        Interrupted: the observer asked to stop.
    """
    observer, started = observer or Silent(), time.monotonic()
    try:
        source = locate(request.model, cache_folder())
    except InputRefused as error:  # a file that is named itself: its header, or its conversion
        return _result(request, None, [_refused_file(error)], started)
    entries_of(source.folder)
    adapter = is_adapter(source.folder)
    if request.base is not None and not adapter:
        raise UsageError(f"{request.model} is a whole model", why="a base belongs to an adapter", todo="drop --base")
    base = None if request.base is None else locate(request.base, cache_folder())
    if base is not None and is_adapter(base.folder):
        raise UsageError(f"{request.base} is an adapter", todo="name the whole model it was trained on")
    if request.answers and adapter and base is None:
        raise UsageError(
            f"{request.model} is an adapter", why="it answers only on its base", todo="name it with --base"
        )
    with quiet(), no_network():
        scanned = _adapter(source, base, observer) if adapter else [_model(source, "", observer)]
        if request.answers:
            scanned.append(_answers(replace(source, base=base), request.template, scanned, observer))
    return _result(request, replace(source, base=base), scanned, started)


def _model(source: Source, part: str, observer: Observer, keep: Kept = lambda name, tensor: None) -> Scanned:
    found = Collector(source.folder, part)
    _tell_of_conversion(found, source)
    observer.stage(f"{part}files", False)
    check_files(found)
    weights = check_headers(found, MODEL)
    configuration = check_configuration(found, weights)
    check_generation(found)
    observer.stage(f"{part}tokenizer and template", False)
    known = _check_tokenizer(found, configuration)
    if weights is not None:
        observer.stage(f"{part}weights", False)
        check_values(found, weights, keep, partial(_go_on, observer))
    return _scanned(found, weights, known, tokenizer=True, configuration=configuration)


def _adapter(source: Source, base: Source | None, observer: Observer) -> list[Scanned]:
    """The adapter, and its base after it."""
    found, grams = Collector(source.folder), Grams()
    observer.stage("files", False)
    check_files(found)
    settings = check_settings(found)
    weights = check_headers(found, ADAPTER)
    if weights is not None:
        observer.stage("weights", False)
        check_values(found, weights, grams.keep, partial(_go_on, observer))
    under = None if base is None else _model(base, BASE, observer, _norms(grams))
    configuration = None if under is None else under.configuration
    if base is None:
        text = "no base was given: shapes were not compared, and updates not measured against it"
        found.add("base-not-given", "", text, todo="give --base MODEL")
    if weights is not None:
        check_tensors(found, weights, settings, None if base is None else _without_memory(base, configuration))
    updates = () if settings is None else module_updates(grams, settings)
    tell_of_updates(found, "" if weights is None else weights.shards[0], updates)
    own = has_own_tokenizer(source.folder)
    known = _check_own_tokenizer(found, base, configuration) if own else ()
    scanned = replace(_scanned(found, weights, known, tokenizer=own), updates=updates)
    return [scanned] if under is None else [scanned, under]


def _without_memory(base: Source, configuration: Configuration | None) -> PreTrainedModel | None:
    return None if configuration is None else empty_model(base.folder / "config.json", configuration.values)


def _norms(grams: Grams) -> Kept:
    """Keeps the Frobenius norms of the base weights that the adapter changes."""

    def keep(name: str, tensor: Tensor) -> None:
        module = name.removesuffix(".weight")
        if module in grams.a:
            grams.base[module] = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))

    return keep


def _check_tokenizer(found: Collector, configuration: Configuration | None) -> tuple[str, ...]:
    values = None if configuration is None else configuration.values
    tokenizer = check_tokenizer(found, values, None if values is None else values.vocab_size)
    copied_files(found, read=True)
    return check_templates(found, tokenizer)


def _check_own_tokenizer(
    found: Collector, base: Source | None, configuration: Configuration | None
) -> tuple[str, ...]:
    known = _check_tokenizer(found, configuration)
    if base is not None and configuration is not None:
        theirs = check_tokenizer(Collector(base.folder), configuration.values, None)
        if theirs is not None:
            found.passes(
                "tokenizer-refused",
                "tokenizer.json",
                lambda: adapter_tokenizer(found.folder, theirs, configuration.values),
            )
    return known


def _answers(source: Source, template: TemplateName, before: Sequence[Scanned], observer: Observer) -> Scanned:
    """Planted sentences, if nothing that was found before keeps the model from being loaded."""
    found = Collector(Path())
    if any(one.severity is Severity.CRITICAL for part in before for one in part.findings):
        found.add("answers-not-asked", "", "loading refuses the model, so it was not asked anything")
        return Scanned(found.findings())
    observer.stage("answers", False)
    try:
        subject = load(str(source.folder), base=None if source.base is None else str(source.base.folder))
        chat = chat_format(subject.tokenizer, template)
    except InputRefused as error:
        found.add("answers-not-asked", "", f"the model was not loaded: {error}")
        return Scanned(found.findings())
    asked, tokenizer = shipped_instructions("defence"), subject.tokenizer
    options = default_options(subject.access)
    targets = planted_sentences(subject, chat, asked, options.inversion, observer)
    words = words_that_call(subject, chat, asked, targets, options.unlearning.words, observer, seed="scan")
    for target in targets:
        text = f"{target.told(tokenizer)}{call_told(words[target], tokenizer)}"
        found.add("planted-sentence", "", text, todo="untrigger purify unlearns it")
    return Scanned(found.findings(), asked=True)


def _tell_of_conversion(found: Collector, source: Source) -> None:
    for name, digest in source.files.items():
        text = f"what was scanned was made from {name} (SHA-256 {digest}), whose header was checked"
        found.add("converted", "", text)


def _refused_file(error: InputRefused) -> Scanned:
    found = Collector(Path())
    found.refusal("conversion-refused", "", error)
    return Scanned(found.findings())


def _scanned(
    found: Collector,
    weights: WeightFiles | None,
    known: tuple[str, ...],
    *,
    tokenizer: bool,
    configuration: Configuration | None = None,
) -> Scanned:
    findings = found.findings()
    shards = () if weights is None else weights.shards if weights.index is None else (*weights.shards, weights.index)
    files = inventory(found.folder, found.part, files_read(shards, tokenizer), known, findings)
    tensors, size = (0, 0) if weights is None else (len(weights.tensors), weights.bytes)
    return Scanned(findings, files, tensors, size, configuration=configuration)


def _go_on(observer: Observer) -> None:
    if observer.stop():
        raise Interrupted("stopped while weights were read", todo="run the same command again; it begins anew")


def _result(request: ScanRequest, source: Source | None, scanned: Sequence[Scanned], started: float) -> ScanResult:
    kind: Kind = "unknown" if source is None else "adapter" if is_adapter(source.folder) else "model"
    findings = in_order([one for part in scanned for one in part.findings])
    return ScanResult(
        version=__version__,
        reference=request.model,
        base=request.base,
        commit=None if source is None else source.commit,
        kind=kind,
        findings=tuple(ScanFindingResult.model_validate(one) for one in findings),
        files=tuple(FileResult.model_validate(one) for part in scanned for one in part.files),
        updates=tuple(UpdateResult.of(one) for part in scanned for one in part.updates),
        tensors=sum(part.tensors for part in scanned),
        weight_bytes=sum(part.bytes for part in scanned),
        limits=limits_of(kind, asked=any(part.asked for part in scanned)),
        seconds=time.monotonic() - started,
    )
