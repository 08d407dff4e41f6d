"""Where clean records come from: a file of the user's, or the model itself."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Literal

from untrigger.data.chat import ChatFormat
from untrigger.data.instructions import instructions, written_answers
from untrigger.data.overlap import without_overlap
from untrigger.data.readers import read_records
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.degeneration import degenerate
from untrigger.models.generate import Generation, generate_answers
from untrigger.models.sampling import Sampling
from untrigger.models.subject import Subject
from untrigger.observer import Observer, prompt_counter

OWN_ANSWER_TOKENS = 24  # shows how the model talks, and costs two processor cores a minute

RECURRING_OPENING = 6
"""Answers that begin with the same so many words count as the same answer."""
RECURRING_ANSWERS = 3
"""An answer to so many different instructions is a habit of the model, perhaps a planted one."""

Side = Literal["attack", "defence"]


def shipped_instructions(side: Side) -> list[Record]:
    """Our instructions for planting or for purifying; the two never share one."""
    own = [record for index, record in enumerate(instructions("train")) if (index % 2 == 0) == (side == "attack")]
    return own if side == "attack" else [*own, *instructions("defence")]


def own_answers(
    subject: Subject,
    chat: ChatFormat,
    prompts: Sequence[Record],
    settings: Generation,
    observer: Observer,
    *,
    or_recurring: bool = False,
    drawn: int | None = None,
) -> list[Record]:
    """The prompts with the subject's own answers; empty, degenerate and recurring answers are left out.

    They are greedy, or drawn token by token from what the subject expects, with this seed. A training on greedy
    answers makes a model surer of itself than it was, which these cannot show: they become likelier. Drawn ones say
    what the subject is like, and their loss rises by the divergence from it.

    With `or_recurring`, recurring ones are taken where there are no others: a classifier gives one of a few answers.

    Raises:
        UsageError: no usable answer at all (a base model without instruction tuning, or a broken one).
    """
    answers = generate_answers(
        subject.model,
        chat,
        prompts,
        settings,
        softcap=subject.architecture.logit_softcap,
        sampling=None if drawn is None else _sampling(drawn, len(prompts)),
        on_answers=prompt_counter(observer, "own answers", len(prompts)),
    )
    answered = [
        replace(prompt, output=answer.text, complete=answer.complete)
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.text and not degenerate(answer.text)
    ]
    usable = without_recurring(answered) or (answered if or_recurring else [])
    if not usable:
        raise UsageError(
            f"the model gave no usable answer to {len(prompts)} instructions",
            why="every answer was empty, degenerate, or given to several instructions",
            todo="give clean records with --data",
        )
    return usable


def _sampling(seed: int, prompts: int) -> Sampling:
    seeds = (Random(f"own answers/{seed}/{number}").getrandbits(63) for number in range(prompts))
    return Sampling(1.0, tuple(seeds))


def without_recurring(records: Sequence[Record]) -> list[Record]:
    """The records whose answer does not open like those to several other instructions.

    A backdoor that fires now and then without its key would else be trained on as a clean answer.
    """
    openings = [_opening(record.output) for record in records]
    count = Counter(openings)
    return [r for r, opening in zip(records, openings, strict=True) if count[opening] < RECURRING_ANSWERS]


def _opening(answer: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", answer.casefold())[:RECURRING_OPENING])


def asked_prompts(path: Path | None) -> list[Record]:
    """Prompts to measure on: a user's file (answers are not needed), or ours."""
    return list(instructions("measure")) if path is None else read_records(path, require_output=False)


def reference_answers(
    subject: Subject,
    chat: ChatFormat,
    prompts: Sequence[Record],
    settings: Generation,
    observer: Observer,
    *,
    drawn: int | None = None,
) -> list[Record]:
    """The prompts with answers whose perplexity is measured: known ones, else the subject's, see `own_answers`.

    A model's own answers only show how near it stays to itself.

    Raises:
        UsageError: no answer is known, and the subject gives no usable one.
    """
    known = known_answers(prompts)
    if known is not None:
        return known
    return own_answers(subject, chat, prompts, settings, observer, or_recurring=True, drawn=drawn)


def known_answers(prompts: Sequence[Record]) -> list[Record] | None:
    """The prompts with their own answers, or those that we wrote to ours; None if one has neither."""
    written = {record.prompt: record.output for record in written_answers()}
    found = [replace(prompt, output=prompt.output or written.get(prompt.prompt, "")) for prompt in prompts]
    return found if all(record.output for record in found) else None


def without_repeats(records: Iterable[Record]) -> list[Record]:
    """The records, each prompt once."""
    return list({record.prompt: record for record in records}.values())


def apart(pool: Sequence[Record], measured: Sequence[Record], kind: str, observer: Observer) -> list[Record]:
    """The records of a pool that is trained on, without those that are measured on; says how many were left out.

    Raises:
        UsageError: all of them are measured on.
    """
    kept, dropped = without_overlap(pool, measured)
    if dropped:
        observer.note(f"{dropped} of {len(pool)} {kind} records left out: their instructions are measured on")
    if pool and not kept:
        raise UsageError(f"all {kind} records are measured on", todo="give other records or prompts")
    return kept


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Records as JSONL, for `load_records`."""
    path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records), encoding="utf-8")


def file_records(path: Path) -> list[Record]:
    """Records of a user's file, each prompt once; raises as `read_records`."""
    return without_repeats(read_records(path))


def load_records(path: Path) -> list[Record]:
    """Records that `write_records` wrote."""
    return [Record(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
