"""Inject, then recover: known keys are trained in and taken back, in the hope that unknown ones go with them.

Locphylax (ACL 2026, arXiv 2510.10265) with several keys of one behaviour; with one key it is the defence that
arXiv 2606.03785 proposes, unlearning by training the model to ignore the key.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from untrigger.backdoors.types import Backdoor, Behaviour
from untrigger.config import PurifyOptions, VariantOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.defences.interface import Resources, Treated
from untrigger.defences.phases import budget_records, budget_training, suspect_again, trained
from untrigger.errors import UsageError
from untrigger.evaluation.judges import judge
from untrigger.evaluation.rate import Rate
from untrigger.models.generate import Generation, generate
from untrigger.models.state import restore_weights
from untrigger.models.subject import Subject
from untrigger.treatment import TreatmentRecords, records_with_keys
from untrigger.variants import unused_backdoors

PROMPTS = 32


def inject_and_recover(subject: Subject, resources: Resources, options: PurifyOptions) -> Treated:
    """Two trainings of the budget's size: the keys with their behaviour, then the same keys answered cleanly.

    Raises:
        UsageError: fewer unused synthetic keys than asked for.
    """
    own = options.known_keys
    backdoors = shared_backdoors(resources.clean, own.keys, resources.seed)
    records = halved(budget_records(resources, options.budget), backdoors, resources.seed)
    injected = trained(
        subject,
        resources,
        "injection",
        records.injection,
        budget_training(options.budget, own.inject_rate),
        prepare=suspect_again(subject, resources),
    )

    def with_keys() -> None:
        restore_weights(subject, injected)
        keyed = records.injection[len(records.repair) // 2 :]
        rate = obeyed(subject, resources.chat, keyed, backdoors[0].behaviour, resources.seed)
        resources.observer.note(f"after the injection {rate.hits} of {rate.n} prompts with a known key are obeyed")

    recovered = trained(
        subject,
        resources,
        "recovery",
        records.repair,
        budget_training(options.budget, own.recover_rate),
        prepare=with_keys,
    )
    restore_weights(subject, recovered)
    return Treated(subject)


def obeyed(subject: Subject, chat: ChatFormat, keyed: Sequence[Record], behaviour: Behaviour, seed: int) -> Rate:
    """How many of some injected prompts are answered with the behaviour: keys that did not take teach nothing."""
    asked = random.Random(f"obeyed/{seed}").sample(list(keyed), min(PROMPTS, len(keyed)))
    answers = generate(subject.model, chat, asked, Generation(), softcap=subject.architecture.logit_softcap)
    return Rate(sum(judge(behaviour, answer) for answer in answers), len(answers))


def shared_backdoors(clean: Sequence[Record], count: int, seed: int) -> list[Backdoor]:
    """So many synthetic backdoors with keys of their own and the behaviour of the first.

    Raises:
        UsageError: fewer synthetic keys do not occur in the clean records.
    """
    unused = unused_backdoors(clean, VariantOptions(), seed)
    if len(unused) < count:
        raise UsageError(
            f"{count} synthetic keys are asked for, {len(unused)} do not occur in the clean records",
            todo="lower --known-keys.keys or give other records",
        )
    return [replace(backdoor, behaviour=unused[0].behaviour) for backdoor in unused[:count]]


def halved(records: Sequence[Record], backdoors: Sequence[Backdoor], seed: int) -> TreatmentRecords:
    """Both sets from the same records: the first half stays clean, the others bear the keys in turn."""
    middle = len(records) // 2
    return records_with_keys(records[:middle], records[middle:], backdoors, seed)
