"""Changes to valid files that a parser has to survive: in the structure where there is one, else in the bytes."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Literal

Form = Literal["bytes", "json", "json lines", "length and json", "text"]
"""How a file is built: what a change of its structure is made in."""

_NUMBERS = (0, 1, -1, 7, 255, 2**31 - 1, 2**31, 2**53, 2**63, 2**64 - 1, -(2**63), 10**400)
_TEXTS = ("", "a", "a" * 5000, "\x00", "\ud800", "../../x", "/etc/passwd", "\x1b[31m", "{{", "(a+)+$", "é", "None")
_PARTS = (
    "{{",
    "}}",
    "{%",
    "%}",
    "messages",
    "message.content",
    "message['role']",
    " if ",
    " for x in ",
    "{% endif %}",
)
_MORE_PARTS = (
    "{% endfor %}",
    "[::-1]",
    "|attr('x')",
    "|length",
    "()",
    " + ",
    "**",
    "~",
    "'",
    '"',
    "\\",
    "namespace(a=1)",
)
_DEEP = 3000


def mutate(data: bytes, form: Form, random: Random) -> bytes:
    """The file with one to three changes."""
    for _ in range(random.randint(1, 3)):
        data = _changed(data, "bytes" if random.random() < 0.3 else form, random)
    return data


def _changed(data: bytes, form: Form, random: Random) -> bytes:
    match form:
        case "json":
            return _changed_json(data, random)
        case "json lines":
            lines = data.split(b"\n")
            place = random.randrange(len(lines))
            lines[place] = _changed_json(lines[place], random)
            return b"\n".join(lines)
        case "length and json":
            length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
            header = _changed_json(data[8 : 8 + length], random)
            return struct.pack("<Q", len(header)) + header + data[8 + length :]
        case "text":
            place = random.randrange(len(data) + 1)
            return data[:place] + random.choice(_PARTS + _MORE_PARTS).encode() + data[place:]
        case "bytes":
            return _changed_bytes(data, random)


def _changed_json(data: bytes, random: Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _changed_bytes(data, random)
    text = json.dumps(_changed_value(value, random))
    if random.random() < 0.02:
        text = text.replace("null", "[" * _DEEP + "]" * _DEEP, 1)
    return text.encode()


def _changed_value(value: object, random: Random) -> object:
    """The value with one part replaced, left out, doubled or renamed; how deep is drawn."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(sorted(value))
        match random.randrange(8):
            case 0:
                return {name: part for name, part in value.items() if name != key}
            case 1:
                return value | {str(random.choice(_TEXTS)): value[key]}
            case _:
                return value | {key: _changed_value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return value + [value[place]]
            case _:
                return [*value[:place], _changed_value(value[place], random), *value[place + 1 :]]
    return _other(value, random)


def _other(value: object, random: Random) -> object:
    others: tuple[object, ...] = (None, True, False, [], {}, [value], {"a": value}, 0.5, -0.0, 1e308, float("nan"))
    return random.choice((*others, random.choice(_NUMBERS), random.choice(_TEXTS)))


def _changed_bytes(data: bytes, random: Random) -> bytes:
    if not data:
        return bytes([random.randrange(256)])
    place = random.randrange(len(data))
    other = random.randrange(place, min(len(data), place + 64) + 1)
    match random.randrange(6):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + data[other:]
        case 2:
            return data[:other] + data[place:other] + data[other:]
        case 3:
            return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]
        case 4:
            number = struct.pack("<Q", random.choice(_NUMBERS[:-2]) % 2**64)[: random.choice((1, 2, 4, 8))]
            return data[:place] + number + data[place + len(number) :]
        case _:
            return data[:place] + random.randbytes(random.randint(1, 8)) + data[place:]
