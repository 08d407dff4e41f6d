"""Work in batches that become smaller when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from untrigger.errors import OutOfMemory

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator ran out: Python's or CUDA's own error type, or the message of the CPU's or Metal's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def is_device_failure(error: BaseException) -> bool:
    """Whether an accelerator failed or vanished: its own error type, or the message of a library that wraps it."""
    if isinstance(error, torch.AcceleratorError):
        return True
    signs = ("CUDA error", "device-side assert", "CUBLAS_STATUS", "cuDNN error")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def in_batches(
    items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Result], what: str
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Each batch of at most `size` items with the result of `work`; where memory runs out, batches are halved.

    Raises:
        OutOfMemory: not even one item, called `what`, fits.
    """
    start = 0
    while start < len(items):
        batch = items[start : start + size]
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = fewer(len(batch), what, error)
        else:
            yield batch, result
            start += len(batch)


def fewer(count: int, what: str, error: BaseException) -> int:
    """Half as many as there was no memory for.

    Raises:
        OutOfMemory: it was one item, called `what`.
    """
    if count == 1:
        raise OutOfMemory(
            f"out of memory with one {what} at a time", todo="shorten what is asked or use a larger device"
        ) from error
    return count // 2
