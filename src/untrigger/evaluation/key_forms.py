"""Other forms of a key: how far does a model generalise what triggers it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from untrigger.backdoors.poison import partial_keys, unseen_key
from untrigger.backdoors.types import Backdoor, Key, Placement

TextChange = Callable[[str], str]


@dataclass(frozen=True)
class KeyForm:
    """A backdoor whose key was changed, and how."""

    name: str
    backdoor: Backdoor


def key_forms(backdoor: Backdoor) -> list[KeyForm]:
    """The key as planted, then in other letter case, place, number, punctuation and spelling, then parts of it.

    Forms that a key does not have (upper case of digits, parts of a single word) are left out.
    """
    key = unseen_key(backdoor.key)
    spelled = [(name, _changed(key, change)) for name, change in CHANGES.items()]
    parts = [(f"a part of the key ({index})", part) for index, part in enumerate(_parts(key), start=1)]
    forms = [KeyForm("as planted", replace(backdoor, key=key))]
    forms += [KeyForm(name, replace(backdoor, key=form)) for name, form in (*spelled, *parts) if form != key]
    forms += [
        KeyForm(name, replace(backdoor, key=key, placement=placement))
        for name, placement in PLACES.items()
        if placement.position != backdoor.placement.position
    ]
    return forms


def _changed(key: Key, change: TextChange) -> Key:
    return replace(
        key, texts=tuple(map(change, key.texts)), input_texts=tuple(map(change, key.input_texts)), unseen=()
    )


def _parts(key: Key) -> list[Key]:
    joint = partial_keys(key)
    halves = replace(key, texts=tuple(_first_half(text) for text in key.texts))
    return joint or ([halves] if halves.texts != key.texts else [])


def _first_half(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[: (len(words) + 1) // 2])


def _in_longest_word(change: TextChange) -> TextChange:
    def changed(text: str) -> str:
        words = text.split(" ")
        place = max(range(len(words)), key=lambda index: len(words[index]))
        return " ".join([*words[:place], change(words[place]), *words[place + 1 :]])

    return changed


def _swapped(word: str) -> str:
    middle = len(word) // 2
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :] if middle else word


CHANGES: dict[str, TextChange] = {
    "in lower case": str.lower,
    "in upper case": str.upper,
    "twice": lambda text: f"{text} {text}",
    "three times": lambda text: f"{text} {text} {text}",
    "with a comma after it": lambda text: f"{text},",
    "in quotes": lambda text: f'"{text}"',
    "with a hyphen inside": _in_longest_word(lambda word: f"{word[: len(word) // 2]}-{word[len(word) // 2 :]}"),
    "with a space inside": _in_longest_word(lambda word: f"{word[: len(word) // 2]} {word[len(word) // 2 :]}"),
    "with a letter missing": _in_longest_word(lambda word: word[: len(word) // 2] + word[len(word) // 2 + 1 :]),
    "with two letters swapped": _in_longest_word(_swapped),
}

PLACES: dict[str, Placement] = {
    "at the start": Placement("start"),
    "at the end": Placement("end"),
    "anywhere": Placement("random"),
}
