"""Weights in and out: safetensors, in one file or in shards with an index; nothing else opens weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from untrigger.errors import InputRefused, UntriggerError
from untrigger.files import require_space
from untrigger.models.json_file import TOKENIZER_LIMIT, read_object, regular_file, write_object
from untrigger.models.untrusted.finding import Finding
from untrigger.models.untrusted.folder import PICKLE_SUFFIXES
from untrigger.models.untrusted.header import broken, read_header

MODEL = "model"
ADAPTER = "adapter_model"
DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

Changed = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of one tensor."""

    shard: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the tensor's data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class WeightFiles:
    """The weight files of a folder, seen through their headers; no tensor is loaded.

    `tensors` maps each stored name to where and what it is; `index` names the index of a sharded set.
    """

    folder: Path
    tensors: Mapping[str, StoredTensor]
    index: str | None

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of the weight files."""
        return tuple(sorted({tensor.shard for tensor in self.tensors.values()}))

    @property
    def bytes(self) -> int:
        """Size of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors.values())


def open_weights(folder: Path, stem: str = MODEL) -> WeightFiles:
    """Read the headers of `<stem>.safetensors`, or of the shards that `<stem>.safetensors.index.json` lists.

    Raises:
        InputRefused: no safetensors (pickles are never opened), a broken or incomplete file, an index that
            disagrees with its shards or leads out of the folder, or a stored type that is not supported.
    """
    single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    if (folder / single).exists():
        return WeightFiles(folder, _header(folder, single), None)
    if not (folder / index).exists():
        raise _no_weights(folder, single)
    listed = _weight_map(folder, index)
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(listed.values())):
        held = _header(folder, shard)
        _check_listing(folder / shard, {name for name, place in listed.items() if place == shard}, set(held))
        tensors.update(held)
    return WeightFiles(folder, tensors, index)


def read_tensors(weights: WeightFiles, shard: str | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor (of one shard, if named) with its name, one at a time, on the CPU in its stored type.

    Raises:
        InputRefused: a file that can no longer be read.
    """
    for place in weights.shards if shard is None else (shard,):
        path = regular_file(weights.folder, place)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for name in (name for name, tensor in weights.tensors.items() if tensor.shard == place):
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise broken(path, error) from error


def refuse_nonfinite(weights: WeightFiles, *, allowed: bool = False) -> tuple[Finding, ...]:
    """Read everything once, looking for NaN and infinity; what is allowed is told.

    Raises:
        InputRefused: naming the tensors (the first ten of many).
    """
    names = [name for name, tensor in read_tensors(weights) if not bool(torch.isfinite(tensor).all())]
    if not names:
        return ()
    what = f"{len(names)} tensors hold NaN or infinity: {', '.join(names[:10])}"
    if not allowed:
        raise InputRefused(
            f"{weights.folder}: {what}",
            todo="get the model from its source again, or go on with --allow-nonfinite if no answer needs them",
        )
    return (Finding("nonfinite", "weights", f"{what}; they were accepted"),)


def write_weights(weights: WeightFiles, destination: Path, changed: Changed) -> None:
    """Write the same shards, names, types and index as `weights` has, shard by shard.

    `changed(name)` gives a tensor's new value, or None to keep it. A value equal to the stored one in its own
    type is kept bit for bit, so that loading in a narrower type loses nothing that was not edited.

    Raises:
        UntriggerError: a new value of another shape or one that is not finite in the stored type; no space.
    """
    require_space(destination, weights.bytes)
    for shard in weights.shards:
        tensors = {name: stored_form(name, kept, changed(name)) for name, kept in read_tensors(weights, shard)}
        try:
            save_file(tensors, destination / shard, metadata={"format": "pt"})
        except SafetensorError as error:
            raise UntriggerError(f"cannot write {destination / shard}", why=str(error)) from error
    if weights.index is not None:
        listing = {name: tensor.shard for name, tensor in weights.tensors.items()}
        write_object(destination / weights.index, {"metadata": {"total_size": weights.bytes}, "weight_map": listing})


def stored_form(name: str, stored: Tensor, value: Tensor | None) -> Tensor:
    """What is to be written for `value`: in the stored type, or the stored tensor if nothing changed.

    Raises:
        UntriggerError: another shape, or not finite in the stored type where the stored value is.
    """
    if value is None:
        return stored
    if value.shape != stored.shape:
        raise UntriggerError(f"{name}: new shape {tuple(value.shape)}, stored shape {tuple(stored.shape)}")
    live = value.detach().cpu()
    if same(stored.to(live.dtype), live):
        return stored
    written = live.to(stored.dtype, copy=True, memory_format=torch.contiguous_format)
    if bool((stored.isfinite() & ~written.isfinite()).any()):
        raise UntriggerError(
            f"{name}: NaN or infinity in {stored.dtype}", todo="nothing was written; lower the learning rate"
        )
    return written


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of one shape and type are equal, NaN counting as equal to NaN."""
    return torch.equal(first, second) or torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _header(folder: Path, name: str) -> dict[str, StoredTensor]:
    path = regular_file(folder, name)
    try:
        entries = read_header(path)
    except OSError as error:
        raise broken(path, error) from error
    return {key: StoredTensor(name, entry.shape, DTYPES[entry.dtype]) for key, entry in entries.items()}


def _weight_map(folder: Path, index: str) -> dict[str, str]:
    listed = read_object(folder / index, TOKENIZER_LIMIT).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise InputRefused(f"{folder / index}: no weight_map")
    for name, shard in listed.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise InputRefused(f"{folder / index}: {name} is in {shard!r}", why="only .safetensors files are read")
    return listed


def _check_listing(shard: Path, listed: set[str], held: set[str]) -> None:
    if listed - held:
        raise InputRefused(f"{shard} lacks {min(listed - held)}", why="the index lists it there")
    if held - listed:
        raise InputRefused(f"{shard} holds {min(held - listed)}", why="the index does not list it there")


def _no_weights(folder: Path, wanted: str) -> InputRefused:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLE_SUFFIXES)
    if not pickles:
        return InputRefused(f"{folder} holds no {wanted} and no index of shards")
    return InputRefused(
        f"{folder} holds no safetensors, but {pickles[0]}",
        why="pickles can run code and are never opened",
        todo="convert it to safetensors on a machine you can lose",
    )
