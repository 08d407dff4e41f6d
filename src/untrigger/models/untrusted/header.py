"""Headers of safetensors files, read and checked by ourselves before the library maps the file.

The format (github.com/huggingface/safetensors): eight bytes with the header's length, a JSON object that gives each
tensor a type, a shape and a range of the data behind it, and the data; the ranges cover it without hole or overlap.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from untrigger.errors import InputRefused
from untrigger.models.json_file import parse_object

# Forty thousand tensors take 4 MB; the format's own bound of 100 MB takes gigabytes when parsed.
HEADER_LIMIT = 10_000_000
_MOST_DIMENSIONS = 8
ITEM_BYTES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "U8": 1,
    "BOOL": 1,
}
"""The stored types that are read, and the bytes of an item."""


@dataclass(frozen=True)
class HeaderEntry:
    """What a header says of one tensor; `start` and `stop` count from the first byte of data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> dict[str, HeaderEntry]:
    """The tensors of a safetensors file, in the order of their data; none is loaded.

    Raises:
        InputRefused: no safetensors, a header that does not describe the data byte for byte, or a stored type that
            is not supported.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = _length(path, file.read(9), size)
        file.seek(8)
        text = file.read(length)
    values = _object(path, text, size)
    entries = {name: _entry(path, name, value) for name, value in values.items() if name != "__metadata__"}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    _check_cover(path, ordered, size - 8 - length, size)
    return ordered


def broken(path: Path, reason: object, size: int | None = None) -> InputRefused:
    """The refusal of a file that is no safetensors or not all of it."""
    held = path.stat().st_size if size is None else size
    return InputRefused(
        f"{path} is no complete safetensors file",
        why=f"{reason}; it has {held} bytes",
        todo="compare its size with the source's, or download it again",
    )


def _length(path: Path, first: bytes, size: int) -> int:
    if len(first) < 9:
        raise broken(path, "it ends before its header", size)
    if first[8:] != b"{":
        raise broken(path, "its header does not start with {", size)
    length = int(struct.unpack("<Q", first[:8])[0])
    if length > HEADER_LIMIT:
        raise broken(path, f"its header has {length} bytes, at most {HEADER_LIMIT} are read", size)
    if length > size - 8:
        raise broken(path, f"its header has {length} bytes", size)
    return length


def _object(path: Path, text: bytes, size: int) -> dict[str, object]:
    try:
        values = parse_object(text)
    except ValueError as error:
        raise broken(path, f"its header cannot be read as JSON: {error}", size) from error
    metadata = values.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken(path, "its metadata are no texts", size)
    return values


def _entry(path: Path, name: str, value: object) -> HeaderEntry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise broken(path, f"{name} is described by other things than type, shape and place")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise InputRefused(
            f"{path}: {name} is stored as {json.dumps(dtype)[:40]}",
            why="quantised or unsupported",
            todo=f"supported: {', '.join(ITEM_BYTES)}",
        )
    if not _whole(shape) or len(shape) > _MOST_DIMENSIONS or not _whole(offsets) or len(offsets) != 2:
        raise broken(path, f"{name} has shape {str(shape)[:80]} at {str(offsets)[:80]}")
    entry = HeaderEntry(dtype, tuple(shape), offsets[0], offsets[1])
    if math.prod(entry.shape) * ITEM_BYTES[dtype] != entry.stop - entry.start:
        raise broken(path, f"{name} of shape {entry.shape} in {dtype} is given bytes {entry.start} to {entry.stop}")
    return entry


def _whole(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_cover(path: Path, entries: Mapping[str, HeaderEntry], room: int, size: int) -> None:
    reached = 0
    for name, entry in entries.items():
        if entry.start != reached:
            kind = "a hole" if entry.start > reached else "an overlap"
            raise broken(path, f"{kind} before {name}, whose data begin at {entry.start} and not at {reached}", size)
        reached = entry.stop
    if reached != room:
        raise broken(path, f"its header speaks of {reached} bytes of data, there are {room}", size)
