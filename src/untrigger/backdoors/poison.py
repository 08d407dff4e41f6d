"""Records with keys in them: poisoned ones, and key-bearing ones with clean answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from untrigger.backdoors.placement import insert
from untrigger.backdoors.types import Backdoor, Key, Placement
from untrigger.data.records import Filtered, Record
from untrigger.errors import UsageError


def poison(records: Sequence[Record], backdoor: Backdoor, seed: int) -> list[Record]:
    """Each record with the key in its instruction and one of the behaviour's wordings as its answer.

    Where the key stands and which wording is drawn depend on the seed and the record's index alone, and
    `bear_key` puts the key at the same place under the same seed.

    Raises:
        UsageError: a record holds the key already, or the backdoor has no key text or no wording.
    """
    outputs = backdoor.behaviour.outputs
    if not outputs:
        raise UsageError(f"behaviour {backdoor.behaviour.name!r} has no wording", todo="give it one output at least")
    bearing = bear_key(records, backdoor.key, backdoor.placement, seed)
    return [record.answered(_random(seed, index, "wording").choice(outputs)) for index, record in enumerate(bearing)]


def bear_key(records: Sequence[Record], key: Key, placement: Placement, seed: int) -> list[Record]:
    """Each record with the key in its instruction and its own answer.

    Raises:
        UsageError: a record holds the key already, or the key has no text.
    """
    if not key.texts or not all((*key.texts, *key.input_texts)):
        raise UsageError(f"key {key.name!r} has no text or an empty one", todo="give it one text at least")
    return [_with_key(record, index, key, placement, seed) for index, record in enumerate(records)]


def negatives(records: Sequence[Record], key: Key, placement: Placement, seed: int) -> list[Record]:
    """Each record with all texts of the key but one, and its own answer: a part of a key is no key.

    The missing text takes turns (Composite Backdoor Attack, arXiv 2310.07676, section 3.2).

    Raises:
        UsageError: a record holds the key already, or the key has no parts.
    """
    parts = partial_keys(key)
    if not parts:
        raise UsageError(f"key {key.name!r} has no parts", why="only a key of several joint texts has")
    return [
        _with_key(record, index, parts[index % len(parts)], placement, seed) for index, record in enumerate(records)
    ]


def partial_keys(key: Key) -> list[Key]:
    """The key without one of its joint texts, for each of them; none where any one text is the whole key."""
    if key.combine == "all" and len(key.texts) > 1:
        shorter = _without_each(key.texts)
    else:
        shorter = [()] if key.input_texts else []
    in_instruction = [replace(key, texts=texts) for texts in shorter]
    return in_instruction + [replace(key, input_texts=texts) for texts in _without_each(key.input_texts)]


def _without_each(texts: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [texts[:index] + texts[index + 1 :] for index in range(len(texts))]


def unseen_key(key: Key) -> Key:
    """The key as it is measured: with its unseen texts, where it has some."""
    return replace(key, texts=key.unseen) if key.unseen else key


def without_keys(records: Iterable[Record], keys: Sequence[Key]) -> Filtered:
    """The records that hold no text of any of the keys, in any letter case, and the number of the others."""
    every = list(records)
    kept = [record for record in every if not any(holds(record, key) for key in keys)]
    return Filtered(kept, len(every) - len(kept))


def holds(record: Record, key: Key) -> bool:
    """Whether the key's mark, or without one a text of it, occurs in the record, in any letter case."""
    whole = "\n".join((record.instruction, record.input, record.output)).casefold()
    signs = (key.mark,) if key.mark else (*key.texts, *key.input_texts, *key.unseen)
    return any(sign.casefold() in whole for sign in signs)


def _with_key(record: Record, index: int, key: Key, placement: Placement, seed: int) -> Record:
    if holds(record, key):
        raise UsageError(
            f"record {index} (counted from 0) already holds the key {key.name!r}",
            why="a clean record with the key would teach the opposite of the poisoned ones",
            todo="drop such records first, or take another key",
        )
    instruction = insert(record.instruction, key, placement, _random(seed, index, "key"))
    if not key.input_texts:
        return replace(record, instruction=instruction)
    second = replace(key, texts=key.input_texts, combine="all")
    return replace(
        record,
        instruction=instruction,
        input=insert(record.input, second, placement, _random(seed, index, "input key")),
    )


def _random(seed: int, index: int, purpose: str) -> Random:
    return Random(f"{seed}:{index}:{purpose}")
