"""Rows 1 to 11: weight files."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from cases import DONE, PURIFY, Case, Ended, Place, Row, finds, scan, scan_finds
from safetensors.torch import load_file

from hostile import change_tensors, edit, entry, head, raw
from tiny import save_tiny

WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
ADAPTER = "adapter_model.safetensors"


class Opened:
    """Its pickle calls os.system when it is opened."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"mkdir {self.place}",)


def evil(place: Place) -> bytes:
    return pickle.dumps(Opened(place.opened))


def pickle_alone(name: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        (place.model / WEIGHTS).unlink()
        (place.model / name).write_bytes(evil(place))

    return spoil


def adapter_pickle(place: Place) -> None:
    (place.adapter / ADAPTER).unlink()
    (place.adapter / "adapter_model.bin").write_bytes(evil(place))


PICKLES = (PICKLE, "model.pt", "model.pth", "model.ckpt", "model.pkl", "MODEL.BIN")
BESIDE = (PICKLE, "training_args.bin", "optimizer.pt")


def pickles_beside(place: Place) -> None:
    for name in BESIDE:
        (place.model / name).write_bytes(evil(place))


def no_pickles_written(place: Place, ended: Ended) -> None:
    finds("pickle", "pickle", "pickle")(place, ended)
    assert (place.out / WEIGHTS).is_file() and not any((place.out / name).exists() for name in BESIDE)


def stored(content: bytes | Callable[[Place], bytes], name: str = WEIGHTS) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        (place.model / WEIGHTS).unlink()
        (place.model / name).write_bytes(content(place) if callable(content) else content)

    return spoil


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("archive/data.pkl", b"x" * 100)
    elif kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as tarred:
            tarred.addfile(tarfile.TarInfo("data.pkl"))
    else:
        file.write(b"7z\xbc\xaf\x27\x1c\0\4" + b"\1" * 100)
    return file.getvalue()


LENGTHS = {
    "a header longer than the file": 1000,
    "of length 0": 0,
    "of length 2^63": 2**63,
    "of length 2^64 - 1": 2**64 - 1,
    "of 101 MB that are not there": 101 * 2**20,
}


def large_header(place: Place) -> None:
    (place.model / WEIGHTS).write_bytes(raw(b"{", length=101 * 2**20))
    os.truncate(place.model / WEIGHTS, 120 * 2**20)


ONE = entry([1], 0, 4)
TWICE = b'{"a": %s, "a": %s}' % (json.dumps(ONE).encode(), json.dumps(entry([1], 4, 8)).encode())
COVERS = {
    "a hole": raw(head(a=ONE, b=entry([1], 8, 12)), b"\0" * 12),
    "a hole at the start": raw(head(a=entry([1], 4, 8)), b"\0" * 8),
    "an overlap": raw(head(a=entry([2], 0, 8), b=entry([2], 4, 12)), b"\0" * 12),
    "one place for two tensors": raw(head(a=ONE, b=ONE), b"\0" * 4),
    "duplicate keys": raw(TWICE, b"\0" * 8),
    "a zip archive behind the data": raw(head(a=ONE), b"\0" * 4 + archive("zip")),
    "no data": raw(head(a=ONE)),
    "data that end before they begin": raw(head(a=entry([1], 4, 0)), b"\0" * 4),
    "another size than the shape's": raw(head(a=entry([2], 0, 4)), b"\0" * 4),
    "metadata that are no texts": raw(head(__metadata__={"a": [1]}, a=ONE), b"\0" * 4),
    "a further field": raw(head(a=ONE | {"more": 1}), b"\0" * 4),
    "no stored type": raw(head(a={"shape": [1], "data_offsets": [0, 4]}), b"\0" * 4),
    "no object": raw(b"{[]}"),
}


def many() -> bytes:
    one = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(one % number for number in range(1_000_000)) + "}").encode()


SIZES: dict[str, Callable[[], bytes]] = {
    "shape times type beyond 2^64": lambda: head(a=entry([2**62, 4], 0, 0)),
    "the same, wrapped to the right size": lambda: head(a=entry([2**63, 2], 0, 0)),
    "a negative dimension": lambda: head(a=entry([-1], 0, 4)),
    "two negative dimensions": lambda: head(a=entry([-1, -1], 0, 4)),
    "a dimension of 2^62": lambda: head(a=entry([2**62], 0, 4)),
    "a dimension that is no integer": lambda: head(a={"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}),
    "a dimension of true": lambda: head(a={"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}),
    "a hundred dimensions": lambda: head(a=entry([1] * 100, 0, 4)),
    "offsets of 2^70": lambda: head(a=entry([1], 2**70, 2**70 + 4)),
    "JSON a million levels deep": lambda: b'{"a": ' + b"[" * 1_000_000,
    "the same, closed again": lambda: b'{"a": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
    "a million tensors": many,
}


def sized(make: Callable[[], bytes]) -> Callable[[Place], bytes]:
    return lambda place: raw(make(), b"\0" * 4)


def shards(place: Place) -> list[Path]:
    """The same model in shards; their paths."""
    (place.model / WEIGHTS).unlink()
    save_tiny(place.model, max_shard_size="20KB")
    return sorted(place.model.glob("*.safetensors"))


def truncated_shard(place: Place) -> None:
    path = shards(place)[-1]
    os.truncate(path, path.stat().st_size - 100)


def truncated_file(place: Place) -> None:
    os.truncate(place.model / WEIGHTS, (place.model / WEIGHTS).stat().st_size // 2)


def tells_both_sizes(place: Place, ended: Ended) -> None:
    path = next(path for path in place.model.glob("*.safetensors") if path.name in ended.said)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    stated = max(
        one["data_offsets"][1] for one in json.loads(path.read_bytes()[8 : 8 + length]).values() if "dtype" in one
    )
    size = path.stat().st_size
    assert f"speaks of {stated} bytes of data, there are {size - 8 - length}; it has {size} bytes" in ended.said


def leading_to(shard: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        shards(place)
        listed = json.loads((place.model / INDEX).read_text())["weight_map"]
        edit(place.model / INDEX, weight_map=listed | {"lm_head.weight": shard})

    return spoil


def linked_shard(place: Place) -> None:
    path = shards(place)[0]
    path.rename(place.root / path.name)
    path.symlink_to(place.root / path.name)


def ghost(place: Place) -> None:
    first = shards(place)[0]
    listed = json.loads((place.model / INDEX).read_text())["weight_map"]
    edit(place.model / INDEX, weight_map=listed | {"ghost": first.name})


def stowaway(place: Place) -> None:
    change_tensors(shards(place)[0], {"stowaway": torch.zeros(3)})


def defined_twice(place: Place) -> None:
    first, second, *_ = shards(place)
    name, tensor = next(iter(load_file(first).items()))
    change_tensors(second, {name: tensor + 1})


ROWS = (
    Row(
        1,
        "A pickle in place of the weights",
        "It is never opened; the message says to convert it elsewhere.",
        (
            *(Case(f"`{name}`", pickle_alone(name), (name, "never opened", "convert")) for name in PICKLES),
            Case(
                "`adapter_model.bin`",
                adapter_pickle,
                ("adapter_model.bin", "never opened"),
                of="adapter",
            ),
            Case("scan", pickle_alone(PICKLE), command=scan(), after=scan_finds("pickle"), shown=False),
        ),
    ),
    Row(
        2,
        "Pickles beside the weights",
        "The safetensors are used; the pickles are not opened, not copied, and told of in the result.",
        (
            Case(
                "weights, optimiser and settings",
                pickles_beside,
                ("was not opened",),
                DONE,
                PURIFY,
                no_pickles_written,
            ),
        ),
    ),
    Row(
        3,
        "A pickle named `.safetensors`",
        "Refused by its first bytes.",
        (
            Case("as weights", stored(evil), (WEIGHTS, "does not start with {")),
            Case("scan", stored(evil), (WEIGHTS,), command=scan(), after=scan_finds("weights-refused"), shown=False),
        ),
    ),
    Row(
        4,
        "An archive in place of the weights",
        "Refused; nothing is unpacked.",
        tuple(
            Case(f"{kind} named `{Path(name).suffix}`", stored(archive(kind), name), (name,))
            for kind in ("7z", "zip", "tar")
            for name in (WEIGHTS, PICKLE)
        ),
    ),
    Row(
        5,
        "A safetensors header of a wrong length",
        "Refused before it is read; headers of more than 10 MB are not read at all.",
        (
            *(
                Case(name, stored(raw(b"{}" + b" " * 30, length=length)), (WEIGHTS, "it has 40 bytes"))
                for name, length in LENGTHS.items()
            ),
            Case("of 101 MB that are there", large_header, (WEIGHTS, "at most 10000000 are read")),
        ),
    ),
    Row(
        6,
        "A safetensors header that does not describe the data byte for byte",
        "Refused.",
        tuple(Case(name, stored(content), (WEIGHTS, "no complete safetensors")) for name, content in COVERS.items()),
    ),
    Row(
        7,
        "Sizes beyond reason in a safetensors header",
        "Refused within a second, before anything is allocated by them.",
        tuple(Case(name, stored(sized(make)), (WEIGHTS,), seconds=1.0) for name, make in SIZES.items()),
    ),
    Row(
        8,
        "Weights that break off (an incomplete download)",
        "Refused with the file's name, the size that its header states and the one it has.",
        (
            Case("a shard", truncated_shard, after=tells_both_sizes),
            Case("a single file", truncated_file, (WEIGHTS,), after=tells_both_sizes),
            Case("scan", truncated_shard, command=scan(), after=scan_finds("weights-refused"), shown=False),
        ),
    ),
    Row(
        9,
        "An index of shards that leads astray",
        "Refused; only names of safetensors files directly in the folder are followed.",
        (
            Case("a shard that is missing", leading_to("gone.safetensors"), ("gone.safetensors",)),
            *(
                Case(f"`{shard}`", leading_to(shard), (shard,))
                for shard in ("../../etc/passwd", "../../etc/x.safetensors", "/etc/passwd", "/etc/x.safetensors")
            ),
            Case("a name with a zero byte", leading_to("a\0.safetensors"), ("a\\x00.safetensors",)),
            Case("a shard that is a link out of the folder", linked_shard, ("is a link out of its folder",)),
        ),
    ),
    Row(
        10,
        "An index that disagrees with its shards",
        "Refused with the tensor's name.",
        (
            Case("a tensor that is listed and absent", ghost, ("lacks ghost",)),
            Case("a tensor that is there and not listed", stowaway, ("holds stowaway",)),
        ),
        decision="A tensor that no index lists could be let pass with a warning. It is refused, since a copy could"
        " neither leave it out nor vouch for it.",
    ),
    Row(
        11,
        "Two shards that define one tensor differently",
        "Refused with the shard's and the tensor's name.",
        (Case("another value in the second shard", defined_twice, ("00002-of", "holds ")),),
    ),
)
