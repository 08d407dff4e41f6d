"""Tensors one at a time: finite, zero, denormal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from untrigger.inspection.findings import Collector

MOSTLY = 0.5
"""Share of a tensor's nonzero values above which denormal ones are a warning."""
_AT_ONCE = 2**22


@dataclass(frozen=True)
class Reading:
    """Counts of a tensor's values; a denormal one is nonzero and below the smallest normal number of its type."""

    values: int
    nonfinite: int
    nonzero: int
    denormal: int


def read_values(tensor: Shaped[Tensor, "..."]) -> Reading:
    """Counts in pieces, so that little more than the tensor itself is held."""
    nonfinite = nonzero = denormal = 0
    smallest = torch.finfo(tensor.dtype).tiny if tensor.dtype.is_floating_point else None
    for part in torch.split(tensor.flatten(), _AT_ONCE):
        nonfinite += int((~part.isfinite()).sum())
        present = part != 0
        nonzero += int(present.sum())
        if smallest is not None:
            denormal += int((present & (part.abs() < smallest)).sum())
    return Reading(tensor.numel(), nonfinite, nonzero, denormal)


def tensor_findings(found: Collector, file: str, name: str, tensor: Tensor) -> Reading:
    """Tell of what is odd about one stored tensor; returns its counts."""
    reading = read_values(tensor)
    if reading.nonfinite:
        found.add(
            "nonfinite-weights",
            file,
            f"{name}: {reading.nonfinite} of {reading.values} values are NaN or infinite",
            field=name,
            todo="get the model from its source again; --allow-nonfinite goes on",
        )
    if reading.values and not reading.nonzero:
        _tell_of_zeros(found, file, name, tensor)
    elif reading.denormal:
        _tell_of_denormals(found, file, name, tensor.dtype, reading)
    return reading


def _tell_of_zeros(found: Collector, file: str, name: str, tensor: Tensor) -> None:
    if ".lora_B." in name:
        found.add("zero-update", file, f"{name} is zero: the module's update is nothing", field=name)
    elif tensor.ndim > 1:
        todo = "compare it with the model's source"
        found.add("zero-weights", file, f"{name}: all {tensor.numel()} values are zero", field=name, todo=todo)
    else:
        found.add("zero-vector", file, f"{name}: all {tensor.numel()} values are zero", field=name)


def _tell_of_denormals(found: Collector, file: str, name: str, dtype: torch.dtype, reading: Reading) -> None:
    mostly = reading.denormal > MOSTLY * reading.nonzero
    # Of half precision's range a good part is denormal, and small updates lie there.
    rule = "denormal-weights" if mostly and dtype is not torch.float16 else "few-denormals"
    share = f"{reading.denormal} of {reading.nonzero} nonzero values are denormal in {str(dtype).partition('.')[2]}"
    todo = "they may count as zero on another device" if rule == "denormal-weights" else ""
    found.add(rule, file, f"{name}: {share}", field=name, todo=todo)
