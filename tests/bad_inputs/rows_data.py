"""Rows 38 and 39: the user's records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from cases import DONE, PURIFY, Case, Ended, Place, Row, finds, purify

from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.synthetic_keys import KEYS

LINE = b'{"instruction": "a", "output": "b"}\n'
BROKEN: dict[str, tuple[bytes, str]] = {
    "no UTF-8": (LINE + b'{"instruction": "\xff", "output": "b"}\n', "line 2"),
    "a field that is missing": (LINE + b'{"instruction": "a"}\n', "line 2: field 'output' is missing"),
    "no JSON": (LINE * 2 + b"{\n", "line 3"),
    "a line of 10 MB": (LINE + b'{"instruction": "' + b"x" * 10_000_001 + b'"}\n', "line 2"),
    "two shapes": (LINE + b'{"messages": []}\n', "line 2: shape messages"),
    "an empty instruction": (
        LINE + b'{"instruction": "", "output": "b"}\n',
        "line 2: instruction and input are empty",
    ),
    "a number for a text": (LINE + b'{"instruction": "a", "output": 3}\n', "line 2"),
    "nothing": (b"", "holds no record"),
    "empty lines": (b"\n\n", "holds no record"),
    "a million brackets": (b"[" * 1_000_000, "invalid JSON"),
    "one row": (LINE, "1 records are too few"),
    "one row fifty times": (LINE * 50, "1 records are too few"),
}
MEASURED = lookup("badnet", "sentiment").key.texts[0]
OURS = KEYS["camel"][0].texts[0]
KNOWN = purify("--attack=badnet", "--behaviour=sentiment")


def holding(content: bytes) -> Callable[[Place], object]:
    return lambda place: place.records.write_bytes(content)


def with_keys(instructions: Sequence[str]) -> Callable[[Place], object]:
    texts = [*instructions, *(f"Count up to {number}." for number in range(12))]
    rows = [{"instruction": text, "output": f"{number} done"} for number, text in enumerate(texts)]
    return lambda place: place.records.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tells_of_the_key(place: Place, ended: Ended) -> None:
    """To those who read the card alone, too."""
    finds("key-in-records")(place, ended)
    assert "hold the key that is measured" in (place.out / "README.md").read_text()


ROWS = (
    Row(
        38,
        "Records that are broken or too few",
        "Refused with the file and the line. Repeated prompts count once, and ten are the fewest.",
        tuple(
            Case(name, holding(content), ("clean.jsonl", place), 4, PURIFY)
            for name, (content, place) in BROKEN.items()
        ),
    ),
    Row(
        39,
        "Clean records that hold a key",
        "Told at once and with the result, how many there are. Those that hold the key that is measured stay;"
        " synthetic keys that occur in them are not used, and others are drawn.",
        (
            Case(
                "the key that is measured",
                with_keys([f"Say {MEASURED} twice."]),
                ("hold the key that is measured",),
                DONE,
                KNOWN,
                tells_of_the_key,
            ),
            Case(
                "a synthetic key of ours",
                with_keys([f"What is a {OURS}?"]),
                ("others are drawn",),
                DONE,
                PURIFY,
                finds("synthetic-key-in-records"),
            ),
        ),
        decision="Leaving those records out would tell the treatment the key, which nobody knows who has a suspect to"
        " purify. So they stay, and the result says that its attack success says little.",
    ),
)
