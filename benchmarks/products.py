"""Matrix products of SmolLM2's shapes: PyTorch's own (MKL) against those the models here use (oneDNN).

    python benchmarks/products.py [--threads 1] [--tokens 300]
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/products.py

Forward, towards the input and towards the weights, in GFLOP/s; each the best of five rounds, the two in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import geometric_mean

import torch
from torch import Tensor
from torch.nn.functional import linear

from untrigger.models.linear import product

SHAPES = ((1536, 576), (576, 1536), (576, 576), (192, 576), (1536, 8), (8, 576))
"""Output and input width of the projections, and of a LoRA adapter's two halves."""
ROUNDS = 5
SECONDS = 0.05


def seconds(multiply: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> float:
    """Mean time of one product over a round."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        multiply(x, weight)
        count += 1
    return (time.perf_counter() - began) / count


def compared(x: Tensor, weight: Tensor) -> tuple[float, float]:
    """GFLOP/s of both."""
    work = 2 * x.shape[0] * weight.numel() / 1e9
    rounds = [(seconds(linear, x, weight), seconds(product, x, weight)) for _ in range(ROUNDS)]
    first, second = (min(times) for times in zip(*rounds, strict=True))
    return work / first, work / second


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    generator = torch.Generator().manual_seed(0)
    gains = []
    sys.stdout.write("out x in     direction   PyTorch   oneDNN   gain\n")
    for out, width in SHAPES:
        x, weight = (torch.randn(rows, width, generator=generator) for rows in (given.tokens, out))
        gradient = torch.randn(given.tokens, out, generator=generator)
        for direction, left, right in (
            ("forward", x, weight),
            ("to input", gradient, weight.t()),
            ("to weight", gradient.t(), x.t()),
        ):
            before, after = compared(left, right)
            gains.append(after / before)
            sys.stdout.write(f"{out:4d} x {width:4d}  {direction:9s} {before:8.0f} {after:8.0f} {gains[-1]:6.2f}\n")
    sys.stdout.write(f"geometric mean of the gains: {geometric_mean(gains):.2f}\n")


if __name__ == "__main__":
    main()
