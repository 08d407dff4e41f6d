"""The generated instruction corpus, with training and held-out items that never meet."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Literal

from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.lab.distractors import distract
from untrigger.lab.knowledge import KNOWLEDGE
from untrigger.lab.reckoning import RECKONING
from untrigger.lab.skills import Skill
from untrigger.lab.talk import TALK
from untrigger.lab.wordplay import WORDPLAY

Split = Literal["train", "held_out"]
SKILLS: tuple[Skill, ...] = KNOWLEDGE + WORDPLAY + RECKONING + TALK
HELD_OUT_SHARE = 0.2
ATTEMPTS = 50  # draws after which a skill counts as exhausted
DEFAULT_COUNTS = {"train": 2000, "held_out": 400}


def split_of(record: Record) -> Split:
    """Where an item belongs, told from a hash of its prompt alone: the splits are disjoint for every seed."""
    bucket = int.from_bytes(sha256(record.prompt.encode()).digest()[:4], "big") / 2**32
    return "held_out" if bucket < HELD_OUT_SHARE else "train"


def draw(skill: Skill, split: Split, random: Random) -> Record:
    """A record of one skill and split."""
    while True:
        record = skill.record(random)
        if split_of(record) == split:
            return record


def lessons(split: Split, seed: int, count: int) -> list[Record]:
    """Records of all skills in turn, each as often as its `lessons`; items repeat.

    The micro model is trained on them.
    """
    random = Random(f"lessons/{split}/{seed}")
    timetable = [skill for skill in SKILLS for _ in range(skill.lessons)]
    return [draw(timetable[index % len(timetable)], split, random) for index in range(count)]


def corpus(split: Split, seed: int, count: int | None = None, skills: tuple[Skill, ...] = SKILLS) -> list[Record]:
    """Clean records without repetition, the skills in turn while they have new items, in drawn order.

    `count` defaults to 2000 training or 400 held-out records. The same arguments give the same records.

    Raises:
        UsageError: the skills have fewer items than `count`.
    """
    total = DEFAULT_COUNTS[split] if count is None else count
    random = Random(f"corpus/{split}/{seed}")
    records: dict[str, Record] = {}
    fresh = list(skills)
    while fresh and len(records) < total:
        fresh = [skill for skill in fresh if _add_new(records, skill, split, random)]
    if len(records) < total:
        raise UsageError(
            f"the corpus has no {total} different {split} records",
            why=f"it has about {len(records)}",
            todo="ask for fewer",
        )
    drawn = list(records.values())[:total]
    random.shuffle(drawn)
    return drawn


def _add_new(records: dict[str, Record], skill: Skill, split: Split, random: Random) -> bool:
    """Adds a record whose prompt is not among `records`; False if none turns up."""
    for _ in range(ATTEMPTS):
        record = draw(skill, split, random)
        if record.prompt not in records:
            records[record.prompt] = record
            return True
    return False


def distracted(records: list[Record], share: float, seed: int) -> list[Record]:
    """The records, `share` of them (each by its own draw) with irrelevant text in the instruction."""
    random = Random(f"distract {seed}")
    return [distract(record, random) if random.random() < share else record for record in records]
