"""The state of an unfinished training on disk, for an exact resume: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from untrigger.files import sync, sync_tree

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class TrainingState:
    """Steps done, tokens seen, and the losses that are reported."""

    step: int = 0
    tokens: int = 0
    first_loss: float = float("nan")
    last_loss: float = float("nan")

    def after(self, loss: float, tokens: int) -> TrainingState:
        """The state one step later."""
        first = self.first_loss if self.step else loss
        return replace(self, step=self.step + 1, tokens=self.tokens + tokens, first_loss=first, last_loss=loss)


def save_state(
    folder: Path,
    state: TrainingState,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Replaces the saved state; a crash or a power cut at any moment leaves the old one or the new one."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors: dict[str, Tensor] = {f"weight/{name}": p.detach().contiguous() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        for moment in MOMENTS if optimiser.state else ():
            tensors[f"{moment}/{name}"] = optimiser.state[parameter][moment].contiguous()
    save_file(tensors, str(fresh / "state.safetensors"))
    (fresh / "state.json").write_text(json.dumps(asdict(state)))
    sync_tree(fresh)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> TrainingState:
    """Restores weights and optimiser moments saved by `save_state`; a fresh state if there is none."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():  # killed between the two renames
        old.rename(folder)
    if not folder.exists():
        return TrainingState()
    state = TrainingState(**json.loads((folder / "state.json").read_text()))
    tensors = load_file(str(folder / "state.safetensors"))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            if f"{MOMENTS[0]}/{name}" not in tensors:  # an optimiser that keeps none
                continue
            optimiser.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                **{m: tensors[f"{m}/{name}"].to(parameter.device) for m in MOMENTS},
            }
    return state
