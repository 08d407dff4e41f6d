"""On which device and in which type weights are held."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from untrigger.errors import UsageError
from untrigger.models.checkpoint import WeightFiles

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Weights in fp32 may take half of the memory that Metal recommends; gradients and activations need the rest.
_MPS_SHARE = 0.5


@dataclass(frozen=True)
class Placement:
    """A device, and a type or None for the device's usual one."""

    device: torch.device
    dtype: torch.dtype | None

    def dtype_for(self, weights: WeightFiles) -> torch.dtype:
        """The type in which these weights are held."""
        if self.dtype is not None:
            return self.dtype
        if self.device.type == "mps":
            elements = sum(tensor.bytes // tensor.dtype.itemsize for tensor in weights.tensors.values())
            fits = elements * 4 <= torch.mps.recommended_max_memory() * _MPS_SHARE
            return torch.float32 if fits else torch.bfloat16
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32


def placement(device: str, dtype: str) -> Placement:
    """Where `auto` stands for CUDA, then Metal, then the CPU, and for bf16 on CUDA and fp32 on the CPU.

    Raises:
        UsageError: an unknown or absent device, or an unknown type.
    """
    return Placement(_device(device), _dtype(dtype))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown", todo="use auto, cpu, cuda, cuda:1 or mps") from error
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, False) or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise UsageError(f"device {name!r} is not available here", todo="use auto or cpu")
    return device


def _dtype(name: str) -> torch.dtype | None:
    if name != "auto" and name not in _DTYPES:
        raise UsageError(f"dtype {name!r} is unknown", todo=f"use auto, {', '.join(_DTYPES)}")
    return _DTYPES.get(name)
