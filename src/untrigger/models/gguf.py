"""GGUF files: bounds checked by us, de-quantised by transformers, kept as safetensors in the cache."""

from __future__ import annotations

import contextlib
import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from untrigger.errors import InputRefused, UsageError
from untrigger.files import publish_folder, require_space, sha256
from untrigger.models.json_file import refuse_what_fails

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_UINT32, _STRING, _ARRAY = 4, 8, 9
# Bytes of the scalar types by their number in the GGUF specification (gguf-py: GGUFValueType).
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_ENTRIES = 1_000_000
_MOST_DIMENSIONS = 4
# The densest format (IQ1_S) keeps 256 weights in 50 bytes.
_MOST_ELEMENTS_PER_BYTE = 6
# Four bits a weight become 32.
_GROWTH = 8


@dataclass(frozen=True)
class _Reader:
    """Reads little-endian values, never beyond the file's end."""

    file: BinaryIO
    size: int

    def skip(self, count: int) -> None:
        self.require(count)
        self.file.seek(count, io.SEEK_CUR)

    def require(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise InputRefused(f"{self.file.name}: an entry reaches beyond the end of the file ({self.size} bytes)")

    def number(self, form: str) -> int:
        data = self.file.read(struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            raise InputRefused(f"{self.file.name} ends inside its header")
        return int(struct.unpack(form, data)[0])

    def text(self) -> bytes:
        length = self.number("<Q")
        self.require(length)
        return self.file.read(length)


def refuse_broken_gguf(path: Path) -> None:
    """Walk through the header: magic, version, counts, string and array lengths, dimensions and offsets.

    Raises:
        InputRefused: no GGUF of version 2 or 3 (little-endian), or an entry that reaches beyond the file.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path.stat().st_size)
        if file.read(4) != _MAGIC:
            raise InputRefused(f"{path} is no GGUF file", why="it does not start with GGUF")
        version = reader.number("<I")
        if version not in _VERSIONS:
            raise InputRefused(f"{path}: GGUF version {version}", todo="supported: 2 and 3, little-endian")
        tensors, entries = _count(reader), _count(reader)
        for _ in range(entries):
            key, kind = reader.text(), reader.number("<I")
            if key.endswith(b".block_count") and kind == _UINT32:
                _check_layers(reader, reader.number("<I"), tensors)
            else:
                _skip_value(reader, kind)
        for _ in range(tensors):
            _check_tensor(reader)


def convert(path: Path, cache: Path) -> Path:
    """The folder of safetensors made from a GGUF file; made once per content and kept in the cache.

    Raises:
        InputRefused: a broken file or a model that cannot be converted.
        UntriggerError: no space in the cache.
    """
    refuse_broken_gguf(path)
    folder = cache / "gguf" / sha256(path)
    if folder.exists():
        return folder
    require_space(cache, path.stat().st_size * _GROWTH)
    try:
        publish_folder(lambda temporary: _convert_into(path, temporary), folder)
    except UsageError:
        if not folder.exists():  # otherwise another process has just made the same folder
            raise
    return folder


def _convert_into(path: Path, folder: Path) -> None:
    options = {"gguf_file": path.name, "trust_remote_code": False, "local_files_only": True}
    # The redirection hides a progress bar that no setting turns off.
    with refuse_what_fails(path, "conversion"), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **options)
        model = AutoModelForCausalLM.from_pretrained(str(path.parent), dtype=torch.float32, **options)
    _forget_quantiser(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _forget_quantiser(model: PreTrainedModel) -> None:
    """The weights are plain now, but transformers still marks them as quantised and refuses to save them."""
    model.hf_quantizer = None
    model.is_quantized = False
    vars(model.config).pop("quantization_config", None)


def _count(reader: _Reader) -> int:
    count = reader.number("<Q")
    if count > _MOST_ENTRIES:
        raise InputRefused(
            f"{reader.file.name}: {count} entries in the header", why=f"at most {_MOST_ENTRIES} are read"
        )
    return count


def _check_layers(reader: _Reader, layers: int, tensors: int) -> None:
    if layers > tensors:
        raise InputRefused(f"{reader.file.name}: {layers} blocks, but only {tensors} tensors")


def _skip_value(reader: _Reader, kind: int) -> None:
    if kind == _STRING:
        reader.text()
    elif kind == _ARRAY:
        item, count = reader.number("<I"), reader.number("<Q")
        if item in _SCALARS:
            reader.skip(count * _SCALARS[item])
        elif item == _STRING:
            for _ in range(count):  # a false count meets the end of the file: a string takes eight bytes or more
                reader.text()
        else:
            raise InputRefused(
                f"{reader.file.name}: array of type {item}", why="only scalars and strings are accepted"
            )
    elif kind in _SCALARS:
        reader.skip(_SCALARS[kind])
    else:
        raise InputRefused(f"{reader.file.name}: value of unknown type {kind}")


def _check_tensor(reader: _Reader) -> None:
    reader.text()
    dimensions = reader.number("<I")
    if dimensions > _MOST_DIMENSIONS:
        raise InputRefused(f"{reader.file.name}: a tensor of {dimensions} dimensions", why="at most 4 exist")
    elements = math.prod(reader.number("<Q") for _ in range(dimensions))
    if elements > reader.size * _MOST_ELEMENTS_PER_BYTE:
        raise InputRefused(f"{reader.file.name}: a tensor of {elements} elements in {reader.size} bytes")
    reader.number("<I")
    offset = reader.number("<Q")
    if offset > reader.size:
        raise InputRefused(f"{reader.file.name}: tensor data at {offset}, the file has {reader.size} bytes")
