"""How hostile files are made, how their refusal is checked, and what that costs."""

from __future__ import annotations

import json
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from untrigger.errors import UntriggerError

SECONDS = 5.0
ROOM = 2**30


@contextmanager
def refused(kind: type[UntriggerError], *words: str, memory: bool = False) -> Iterator[None]:
    """The block raises an error of exactly this kind, whose one line holds the words.

    It does so within five seconds of a processor, ours and our children's, and, if asked for, within a gigabyte.
    """
    began = _seconds()
    with pytest.raises(kind) as caught, ceiling() if memory else _none():
        yield
    line = caught.value.line()
    assert type(caught.value) is kind
    assert all(word in line for word in words), line
    assert line.isprintable() and "Traceback" not in line
    assert _seconds() - began < SECONDS


@contextmanager
def _none() -> Iterator[None]:
    yield


@contextmanager
def ceiling() -> Iterator[None]:
    """A gigabyte of address space more than now, where the system can say how much that is."""
    if sys.platform != "linux":
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@dataclass
class Used:
    """What a block cost: seconds of a processor, ours and our children's, and bytes by which our memory grew at most.

    A child counts by what it held beyond ours, and where it was the largest so far; it has limits of its own.
    """

    seconds: float = 0.0
    memory: int = 0


@contextmanager
def measured() -> Iterator[Used]:
    """Fills in what the block used when it ends."""
    used, seconds, child = Used(), _seconds(), _most(resource.RUSAGE_CHILDREN)
    _forget_peak()
    held = _peak()
    yield used
    used.seconds, used.memory = _seconds() - seconds, max(0, _peak() - held)
    if (largest := _most(resource.RUSAGE_CHILDREN)) > child:
        used.memory = max(used.memory, largest - held)


def _forget_peak() -> None:
    """Linux counts the largest resident memory anew after this; elsewhere it is that of the whole process."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    if sys.platform != "linux":
        return _most(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _most(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _seconds() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(path: Path, add: dict[str, Tensor], *remove: str) -> None:
    held = {name: tensor for name, tensor in load_file(path).items() if name not in remove}
    save_file(held | add, path, metadata={"format": "pt"})


def raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def head(**entries: object) -> bytes:
    return json.dumps(entries).encode()
