"""Memory and time of scoring one block of Llama-2-7B's MLP over six pairs, dense (streamed) and low-rank.

    python benchmarks/scoring.py --dtype bfloat16

Writes twelve random variants of the block (3.2 GB in bfloat16, 6.5 GB in float32) to a temporary folder.
The bar: peak resident memory of at most 3 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from untrigger.models.architecture import MLP_ROLES, ModelShape, Projection, Role, describe
from untrigger.signature.dense import CHUNK_CHANNELS, Delta, Stored, gram_of
from untrigger.signature.lowrank import Factors, lowrank_gram
from untrigger.signature.score import alignment, strength

HIDDEN, FEED_FORWARD = 4096, 11008
BAR_GB = 3.0
WRITING_SECONDS = 600.0
SHAPE = ModelShape("llama", 1, HIDDEN, FEED_FORWARD, 32, 32, 128)
PROJECTIONS = describe(SHAPE).projections(*MLP_ROLES)


def stored_shape(projection: Projection) -> tuple[int, int]:
    """Shape `[out, in]` of the projection's weight."""
    return (HIDDEN, FEED_FORWARD) if projection.role is Role.DOWN else (FEED_FORWARD, HIDDEN)


def write_variants(folder: Path, pairs: int, dtype: str) -> None:
    """Write two random variants per pair, `poisoned-i` and `clean-i`."""
    torch.set_num_threads(1)
    for number in range(pairs):
        for seed, kind in enumerate(("poisoned", "clean")):
            generator = torch.Generator().manual_seed(2 * number + seed)
            weights = {
                p.weight: torch.randn(stored_shape(p), generator=generator).to(getattr(torch, dtype))
                for p in PROJECTIONS
            }
            save_file(weights, folder / f"{kind}-{number}.safetensors")


def score_streamed(folder: Path, pairs: int, projection: Projection, chunk: int) -> float:
    """Seconds to score one projection from disk; its files are closed at the end, which unmaps them."""
    start = time.perf_counter()
    with ExitStack() as files:

        def opened(kind: str, pair: int) -> Stored:
            file = files.enter_context(safe_open(folder / f"{kind}-{pair}.safetensors", "pt"))
            stored: Stored = file.get_slice(projection.weight)
            return stored

        gram = gram_of(lambda i: Delta(opened("poisoned", i), opened("clean", i)), pairs, projection, chunk)
    strength(gram), alignment(gram)
    return time.perf_counter() - start


def score_factors(pairs: int, rank: int, projection: Projection) -> float:
    """Seconds to score one projection from random adapters."""
    rows, columns = stored_shape(projection)

    def factors() -> Factors:
        return Factors(torch.randn(rows, rank), torch.randn(rank, columns), 2.0)

    twins = [(factors(), factors()) for _ in range(pairs)]
    start = time.perf_counter()
    gram = lowrank_gram(twins, projection)
    strength(gram), alignment(gram)
    return time.perf_counter() - start


def peak_gb() -> float:
    """Peak resident memory of this process, in 10^9 bytes (Linux counts kibibytes, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> int:
    """Run both settings and compare the peak with the bar."""
    parser = argparse.ArgumentParser(description="Score one block of Llama-2-7B's MLP.")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=CHUNK_CHANNELS)
    options = parser.parse_args()
    print(f"idle: {peak_gb():.2f} GB resident, {torch.get_num_threads()} thread(s)")
    lowrank = sum(score_factors(options.pairs, options.rank, p) for p in PROJECTIONS)
    print(f"low-rank r={options.rank}: {lowrank:.2f} s a block, peak {peak_gb():.2f} GB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In another process, so that writing does not count in the peak.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_variants, args=(folder, options.pairs, options.dtype)
        )
        writer.start()
        writer.join(WRITING_SECONDS)
        if writer.exitcode != 0:
            writer.kill()
            sys.exit(f"the variants were not written within {WRITING_SECONDS} s (exit code {writer.exitcode})")
        read_gb = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
        seconds = [score_streamed(folder, options.pairs, p, options.chunk) for p in PROJECTIONS]
    for projection, time_taken in zip(PROJECTIONS, seconds, strict=True):
        print(f"dense {options.dtype} {projection.role}: {time_taken:.2f} s")
    print(f"dense {options.dtype}: {sum(seconds):.2f} s a block, {read_gb / sum(seconds):.2f} GB/s read")
    print(f"peak {peak_gb():.2f} GB, bar {BAR_GB} GB: {'met' if peak_gb() <= BAR_GB else 'MISSED'}")
    return 0 if peak_gb() <= BAR_GB else 1


if __name__ == "__main__":
    sys.exit(main())
