"""A signature on disk: signature.json names its projections, signature.safetensors holds the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Int32
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from untrigger.errors import InputRefused, UntriggerError
from untrigger.files import disk_errors, sync, write_text_atomic
from untrigger.models.architecture import Projection, Role
from untrigger.signature.overlap import Stability
from untrigger.signature.score import ChannelScores
from untrigger.signature.select import ScoreTable
from untrigger.signature.types import Head, Signature

INDEX, TENSORS = "signature.json", "signature.safetensors"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Place = Annotated[int, Field(ge=0, lt=2**31)]  # as the stored indices, which are compared with it


class _StoredProjection(_Strict):
    role: Role
    layer: NonNegativeInt
    module: Annotated[str, Field(min_length=1, max_length=1000)]
    axis: Literal[0, 1]
    start: _Place
    stop: _Place


class _StoredHead(_Strict):
    layer: NonNegativeInt
    head: NonNegativeInt


class _Document(_Strict):
    """signature.json."""

    format: Literal[1] = 1
    projections: tuple[_StoredProjection, ...]
    heads: tuple[_StoredHead, ...]
    scored: tuple[_StoredProjection, ...] = ()
    scored_layers: tuple[NonNegativeInt, ...] = ()
    stability: tuple[Stability, ...] = ()


def save_signature(
    folder: Path, signature: Signature, table: ScoreTable | None = None, settled: Sequence[Stability] = ()
) -> None:
    """Write the signature, and what it was chosen from and how it settled if given, into an existing folder.

    Raises:
        UntriggerError: the folder cannot be written.
    """
    tensors = {_name(p, "channels"): torch.tensor(i, dtype=torch.int32) for p, i in signature.channels.items()}
    if table is not None:
        tensors |= _score_tensors(table)
    document = _Document(
        projections=tuple(_stored(p) for p in signature.channels),
        heads=tuple(_StoredHead(layer=head.layer, head=head.head) for head in signature.heads),
        scored=tuple(_stored(p) for p in table.channels) if table else (),
        scored_layers=tuple(table.heads) if table else (),
        stability=tuple(settled),
    )
    # The document comes last: where it stands, the tensors it names stand too.
    _write_tensors(folder / TENSORS, tensors)
    write_text_atomic(folder / INDEX, document.model_dump_json(indent=1) + "\n")


def load_signature(folder: Path) -> Signature:
    """Read a signature back.

    Raises:
        UntriggerError: a file is missing or unreadable.
        InputRefused: a file is malformed, or indices are not ascending within their projection.
    """
    document, tensors = _read(folder)
    channels = {}
    for stored in document.projections:
        projection = _projection(stored)
        channels[projection] = _indices(_tensor(tensors, _name(projection, "channels"), torch.int32), projection)
    return Signature(channels, tuple(Head(head.layer, head.head) for head in document.heads))


def load_scores(folder: Path) -> ScoreTable:
    """Read back what a signature was chosen from (empty if it was not stored); raises as `load_signature`."""
    document, tensors = _read(folder)
    channels = {}
    for stored in document.scored:
        projection = _projection(stored)
        fields = (_tensor(tensors, _name(projection, field), torch.float64) for field in _SCORE_FIELDS)
        channels[projection] = ChannelScores(*fields)
    heads = {layer: _tensor(tensors, f"{layer}.heads", torch.float64) for layer in document.scored_layers}
    return ScoreTable(channels, heads)


def load_stability(folder: Path) -> tuple[Stability, ...]:
    """Read back how the signature settled (empty if it was not stored); raises as `load_signature`."""
    document, _ = _read(folder)
    return document.stability


_SCORE_FIELDS = ("strength", "alignment", "score")


def _score_tensors(table: ScoreTable) -> dict[str, Tensor]:
    tensors = {f"{layer}.heads": scores.contiguous() for layer, scores in table.heads.items()}
    for projection, scores in table.channels.items():
        # Copies: the norm form's score is the strength itself, and the format refuses shared memory.
        tensors[_name(projection, "strength")] = scores.strength.clone()
        tensors[_name(projection, "alignment")] = scores.alignment.clone()
        tensors[_name(projection, "score")] = scores.score.clone()
    return tensors


def _name(projection: Projection, field: str) -> str:
    return f"{projection.layer}.{projection.role}.{field}"


def _stored(projection: Projection) -> _StoredProjection:
    return _StoredProjection(
        role=projection.role,
        layer=projection.layer,
        module=projection.module,
        axis=projection.axis,
        start=projection.start,
        stop=projection.stop,
    )


def _projection(stored: _StoredProjection) -> Projection:
    return Projection(stored.role, stored.layer, stored.module, stored.axis, stored.start, stored.stop)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write beside the file, then move over it, so that a stopped write leaves the old one."""
    part = path.with_name(path.name + ".part")
    try:
        with disk_errors(path.parent):
            save_file(tensors, part)
            sync(part)
            part.replace(path)
            sync(path.parent)
    except SafetensorError as fault:
        raise UntriggerError(f"{path}: cannot be written", why=str(fault)) from fault


def _read(folder: Path) -> tuple[_Document, dict[str, Tensor]]:
    try:
        document = _Document.model_validate_json((folder / INDEX).read_bytes())
        return document, load_file(folder / TENSORS)
    except (ValidationError, SafetensorError) as fault:
        raise InputRefused(f"{folder}: not a signature", why=str(fault)) from fault
    except OSError as fault:
        raise UntriggerError(f"{folder}: no signature can be read", why=str(fault)) from fault


def _tensor(tensors: dict[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.ndim != 1:
        raise InputRefused(f"{TENSORS}: {name} is not there as a vector of {dtype}")
    return tensor


def _indices(tensor: Int32[Tensor, " chosen"], projection: Projection) -> tuple[int, ...]:
    ascending = bool((tensor.diff() > 0).all())
    if len(tensor) and not (ascending and tensor[0] >= 0 and tensor[-1] < projection.channels):
        raise InputRefused(
            f"{TENSORS}: {_name(projection, 'channels')} is not ascending within 0..{projection.channels - 1}"
        )
    return tuple(tensor.tolist())
