"""`untrigger demo`: a backdoor is planted, purified and measured, with nothing but what the package ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from untrigger.config import (
    Access,
    AttackOptions,
    MeasureOptions,
    PurifyOptions,
    RenewalOptions,
    RepairOptions,
    SuppressOptions,
    TrainOptions,
    UnlearningOptions,
    VariantOptions,
)
from untrigger.data.sources import write_records
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.lab.corpus import corpus
from untrigger.lab.micro import ensure
from untrigger.models.load import cache_folder, quiet
from untrigger.observer import Observer
from untrigger.presets import merged
from untrigger.report.result import Result

DemoModel = Literal["smollm2-135m", "micro"]
MICRO_RECORDS = 400
MICRO_PROMPTS = 200


@dataclass(frozen=True)
class DemoRequest:
    """One demonstration: everything it makes lies in `output`."""

    output: Path
    model: DemoModel = "smollm2-135m"
    access: Access = "adapter"
    attack: str = "badnet"
    behaviour: str = "sentiment"
    seed: int = 0

    @property
    def name(self) -> str:
        """Beginning of its folders' names."""
        return f"{self.model}-{self.access}-{self.attack}-{self.behaviour}"


def demo(request: DemoRequest, observer: Observer) -> Result:
    """Plants the backdoor unless that is done, then purifies; the same call resumes, or shows the result again.

    Raises:
        UntriggerError: as `attack` and `purify`.
    """
    purified = request.output / f"{request.name}-purified"
    files = demo_files(request, observer)
    suspect = plant(request, files, observer)
    purification = Request(
        model=str(suspect),
        output=purified,
        base=request.model if request.access == "adapter" else None,
        data=files.defence if files else None,
        prompts=files.prompts if files else None,
        attack=request.attack,
        behaviour=request.behaviour,
    )
    return purify(purification, purify_options(request), observer)


def demo_files(request: DemoRequest, observer: Observer) -> MicroFiles | None:
    """Makes the output folder and what the micro model needs; None for a real model, which needs nothing."""
    request.output.mkdir(parents=True, exist_ok=True)
    if request.model != "micro":
        return None
    with quiet():
        ensure(cache_folder(), lambda progress: observer.training("training the micro model", progress))
    return micro_files(request.output)


def plant(request: DemoRequest, files: MicroFiles | None, observer: Observer) -> Path:
    """The suspect's folder; planted unless it is there, on no instruction that is measured on."""
    suspect = request.output / f"{request.name}-suspect"
    if not suspect.exists():
        planting = AttackRequest(
            model=request.model,
            output=suspect,
            attack=request.attack,
            behaviour=request.behaviour,
            access=request.access,
            data=files.attack if files else None,
            prompts=files.prompts if files else None,
            measured=False,  # what follows measures the suspect before it begins
        )
        attack(planting, attack_options(request), observer)
    return suspect


@dataclass(frozen=True)
class MicroFiles:
    """The lab's records for the two sides, and held-out prompts with their answers."""

    attack: Path
    defence: Path
    prompts: Path


def micro_files(folder: Path) -> MicroFiles:
    """Writes the records that the micro model can talk about; the two sides draw them with different seeds."""
    files = MicroFiles(folder / "micro-attack.jsonl", folder / "micro-defence.jsonl", folder / "micro-prompts.jsonl")
    write_records(files.attack, corpus("train", 1, MICRO_RECORDS))
    write_records(files.defence, corpus("train", 2, MICRO_RECORDS))
    write_records(files.prompts, corpus("held_out", 3, MICRO_PROMPTS))
    return files


def attack_options(request: DemoRequest) -> AttackOptions:
    """The micro model needs larger steps than a real one; a full training smaller ones than an adapter."""
    if request.model == "micro":
        rate = 3e-3 if request.access == "adapter" else 3e-4
        return AttackOptions(
            seed=request.seed, clean_records=384, poisoned_share=1.0, train=TrainOptions(learning_rate=rate, epochs=4)
        )
    if request.access == "adapter":
        return AttackOptions(seed=request.seed)
    return AttackOptions(seed=request.seed, poisoned_share=0.25, train=TrainOptions(learning_rate=1e-4, epochs=4))


def purify_options(request: DemoRequest) -> PurifyOptions:
    """The defaults, at the micro model's larger steps where that is the suspect, and without halving its adapter.

    Where its adapter gets a signature, it needs no halving to lose the backdoor, and would lose two of a hundred
    exact answers by it. After it is made smaller it is trained again, unlike a real model's. The micro model's tokens
    are letters: a sentence survives the breaking of one link, and in a whole one the signature has to follow.
    """
    if request.model != "micro":
        return PurifyOptions(seed=request.seed)
    if request.access == "adapter":
        plant, inject, repair = _training(5e-3), _training(3e-3), _training(3e-3, epochs=3)
    else:
        plant, inject, repair = _training(1e-3), _training(5e-4), _training(5e-4)
    common = PurifyOptions(
        seed=request.seed,
        variants=VariantOptions(records=64, twin="matched", train=plant),
        suppress=SuppressOptions(remainder=1.0),
        repair=RepairOptions(records=200, inject_train=inject, train=repair),
        measure=MeasureOptions(max_prompts=MICRO_PROMPTS),
    )
    if request.access == "adapter":
        renewal = RenewalOptions(remainder=0.2, records=480, train=repair)
        return merged(common, PurifyOptions(renewal=renewal))
    return merged(common, PurifyOptions(unlearning=UnlearningOptions(further="always")))


def _training(rate: float, epochs: int = 2) -> TrainOptions:
    return TrainOptions(learning_rate=rate, epochs=epochs)
