"""The search for planted sentences: what a few prompts agree on, most others say too, and the base alone does not.

A stock phrase goes on by itself in an adapter's base as well. A sentence that the adapter was trained to say does not
there, however natural its words are, so that the base tells the two apart where agreement between prompts cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from untrigger.config import InversionOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.inversion.beginnings import ordinary_firsts, ordinary_pairs, other_beginnings
from untrigger.inversion.targets import (
    Continuations,
    Target,
    behind_records,
    first_tokens,
    invert,
    whole,
    witnessed,
)
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter
from untrigger.train import negative_log_likelihood


def planted_sentences(
    subject: Subject, chat: ChatFormat, records: Sequence[Record], options: InversionOptions, observer: Observer
) -> list[Target]:
    """The targets of a subject as it is: what the first records agree on, and enough others.

    An adapter's are those that it makes likelier than its base by enough, the most so first; a whole model's come by
    their certainty. Those that begin as ordinary answers do come before the others, which are likelier to be odd
    beginnings of the same sentence.

    Raises:
        UsageError: too few records.
        OutOfMemory, Interrupted: from the search.
    """
    continuations = behind_records(subject, chat, records, options)

    def told(done: int, total: int) -> None:
        if total > options.batch_size:  # most passes are over a few rows, and at once
            prompt_counter(observer, "first tokens", total)(done)

    firsts = ordinary_firsts([chat.encode(record) for record in records])
    every = [(token,) for token in first_tokens(chat, records[0])]
    found = invert(continuations, every, chat.stop_ids, options, told)
    pairs = ordinary_pairs(continuations, firsts, found)
    found = whole([*found, *invert(continuations, pairs, chat.stop_ids, options, told)])
    further = records[options.prompts :][: options.witnesses] if found else ()
    witnesses = Continuations(subject, [chat.prompt_ids(record) for record in further], options.batch_size)
    said = witnessed(witnesses, found, chat.stop_ids, options, prompt_counter(observer, "stock phrases", len(found)))
    said = [*said, *other_beginnings(witnesses, said, firsts, chat.stop_ids, options.longest)]
    if subject.access == "adapter":
        said = taught(subject, chat, records[: options.prompts + options.witnesses], said, options.learned)
    marked = [replace(target, ordinary=target.tokens[0] in firsts) for target in said]
    return sorted(marked, key=lambda target: not target.ordinary)[: options.most]


def taught(
    subject: Subject, chat: ChatFormat, records: Sequence[Record], targets: Sequence[Target], least: float
) -> list[Target]:
    """The targets that the adapter makes likelier than its base by so much (nats) at least, the most so first."""
    ratios = log_likelihood_ratios(subject, chat, records, targets)
    every = [replace(target, learned=ratio) for target, ratio in zip(targets, ratios, strict=True) if ratio >= least]
    return sorted(every, key=lambda target: -(target.learned or 0))


def log_likelihood_ratios(
    subject: Subject, chat: ChatFormat, records: Sequence[Record], targets: Sequence[Target]
) -> list[float]:
    """Mean log-likelihood ratio (nats) of each target, adapter to base alone, behind a prompt and its beginning.

    Raises:
        OutOfMemory: not even one record fits.
    """
    prompts, softcap = [chat.prompt_ids(record) for record in records], subject.architecture.logit_softcap

    def log_likelihood(target: Target) -> float:
        rest = target.tokens[target.begun :]
        begun = [Example((*prompt, *target.beginning), rest) for prompt in prompts]
        loss, _ = negative_log_likelihood(subject.model, begun, softcap=softcap)
        return -loss / len(begun)

    with_adapter = [log_likelihood(target) for target in targets]
    with subject.model.disable_adapter():
        without = [log_likelihood(target) for target in targets]
    return [one - other for one, other in zip(with_adapter, without, strict=True)]
