"""The N pairs: a variant with one more, synthetic backdoor, and its clean twin (arXiv 2603.13461).

Both twins start from the suspect's weights. What is kept of a pair is what its channel deltas need: the difference of
the block weights (full setting), or both adapters' factors, whose difference of products is never formed (adapter).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from untrigger.backdoors.poison import holds, poison
from untrigger.backdoors.synthetic import draw_backdoors
from untrigger.backdoors.types import Backdoor
from untrigger.config import TrainOptions, VariantOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.models.state import restore_weights, save_weights
from untrigger.models.subject import Subject
from untrigger.observer import Observer, training_hooks
from untrigger.train import train

PAIR = "pair.safetensors"
TWIN = "twin.safetensors"


@dataclass(frozen=True)
class VariantPlan:
    """One synthetic backdoor with its clean records and the same records poisoned."""

    backdoor: Backdoor
    clean: tuple[Record, ...]
    poisoned: tuple[Record, ...]
    seed: int


@dataclass(frozen=True)
class TwinExamples:
    """Encoded records of both twins; both plan their batches from `lengths`."""

    poisoned: list[Example]
    clean: list[Example]
    lengths: list[int]


def plan_variants(records: Sequence[Record], options: VariantOptions, seed: int) -> list[VariantPlan]:
    """Draws keys, behaviours and clean records for every pair; all three differ from pair to pair.

    The clean sets are disjoint where the pool is large enough, else each is drawn from the whole pool. With a shared
    twin there is one clean set, and one order of training, for all pairs.

    Raises:
        UsageError: fewer records than one variant needs, or fewer unused keys than pairs.
    """
    if len(records) < options.records:
        raise UsageError(
            f"{len(records)} clean records are too few for variants of {options.records}",
            todo="lower --variants.records or give more records",
        )
    pool = list(records)
    random.Random(f"variants/{seed}").shuffle(pool)
    backdoors = unused_backdoors(records, options, seed)
    if len(backdoors) < options.pairs:
        raise UsageError(
            f"only {len(backdoors)} synthetic keys do not occur in the clean records, {options.pairs} are needed",
            todo="lower --variants.pairs or give other records",
        )
    shared = options.twin == "shared"
    plans = []
    for index, backdoor in enumerate(backdoors[: options.pairs]):
        own_seed = seed * 1000 + index
        clean = pool[: options.records] if shared else _own_records(pool, options, seed, index)
        poisoned = poison(clean, backdoor, own_seed)
        plans.append(VariantPlan(backdoor, tuple(clean), tuple(poisoned), seed * 1000 if shared else own_seed))
    return plans


def _own_records(pool: list[Record], options: VariantOptions, seed: int, index: int) -> list[Record]:
    if len(pool) >= options.pairs * options.records:
        return pool[index * options.records : (index + 1) * options.records]
    return random.Random(f"variants/{seed}/{index}").sample(pool, options.records)


def unused_backdoors(records: Sequence[Record], options: VariantOptions, seed: int) -> list[Backdoor]:
    """The synthetic backdoors of the families and kinds whose keys do not occur in the records, in seeded order."""
    every = draw_backdoors(None, options.families, seed, options.kinds)
    unused = [backdoor for backdoor in every if not any(holds(record, backdoor.key) for record in records)]
    return [with_one_wording(backdoor, seed) for backdoor in unused]


def with_one_wording(backdoor: Backdoor, seed: int) -> Backdoor:
    """The backdoor bound to its family's one sentence: a few dozen steps learn one, not a choice among many."""
    wording = random.Random(f"wording/{seed}/{backdoor.behaviour.family}").choice(backdoor.behaviour.outputs)
    return replace(backdoor, behaviour=replace(backdoor.behaviour, outputs=(wording,)))


def twin_examples(plan: VariantPlan, chat: ChatFormat, twin: str, max_length: int) -> TwinExamples:
    """Records of both twins as tokens.

    A matched clean twin sees the clean originals where its sibling sees poisoned records, at the same steps; the
    published one sees the clean half alone, in half as many steps. A shared one is matched to all its siblings, whose
    keys differ in length: their batches are planned from its own lengths.
    """
    clean = [chat.encode(record, max_length) for record in plan.clean]
    poisoned = clean + [chat.encode(record, max_length) for record in plan.poisoned]
    alike = clean if twin == "published" else clean + clean
    lengths = [len(example) for example in (alike if twin == "shared" else poisoned)]
    return TwinExamples(poisoned, alike, lengths)


def train_pair(
    subject: Subject,
    chat: ChatFormat,
    plan: VariantPlan,
    options: VariantOptions,
    *,
    start: Path,
    work: Path,
    label: str,
    observer: Observer,
    twin: Path | None = None,
) -> int:
    """Trains both twins from the weights saved in `start` and writes `pair.safetensors` into `work`.

    A clean twin that is there already, `twin`, is not trained again. Returns the number of tokens trained on.
    Half-finished trainings are kept in `work/scratch` and resumed.
    """
    examples = twin_examples(plan, chat, options.twin, options.train.max_length)
    training = _Twins(subject, options.train, examples.lengths, plan.seed, start, work / "scratch", label, observer)
    poisoned = training.train("poisoned", examples.poisoned)
    clean = twin or training.train("clean", examples.clean)
    _write_pair(poisoned, clean, work / PAIR, as_delta=subject.access == "full")
    trained = [examples.poisoned] if twin else [examples.poisoned, examples.clean]
    return sum(len(example) for own in trained for example in own) * options.train.epochs


def train_shared_twin(
    subject: Subject,
    chat: ChatFormat,
    plan: VariantPlan,
    options: VariantOptions,
    *,
    start: Path,
    work: Path,
    observer: Observer,
) -> int:
    """Trains the one clean twin of all pairs from the weights in `start` and writes it as `twin.safetensors`.

    Any pair's plan will do: they have the clean records and the seed in common. Returns the tokens trained on.
    """
    examples = twin_examples(plan, chat, "shared", options.train.max_length)
    training = _Twins(
        subject, options.train, examples.lengths, plan.seed, start, work / "scratch", "all pairs", observer
    )
    training.train("clean", examples.clean).rename(work / TWIN)
    return sum(map(len, examples.clean)) * options.train.epochs


@dataclass(frozen=True)
class _Twins:
    """What the trainings of a pair have in common."""

    subject: Subject
    options: TrainOptions
    lengths: list[int]
    seed: int
    start: Path
    scratch: Path
    label: str
    observer: Observer

    def train(self, name: str, examples: list[Example]) -> Path:
        """The file of the trained parameters that deltas need; one that is there already is taken as it is."""
        self.scratch.mkdir(exist_ok=True)
        file = self.scratch / f"{name}.safetensors"
        if file.exists():
            return file
        restore_weights(self.subject, self.start)
        state = self.scratch / f"{name}-state"
        train(
            self.subject.model,
            examples,
            self.options,
            seed=self.seed,
            planned_lengths=self.lengths[: len(examples)],
            softcap=self.subject.architecture.logit_softcap,
            hooks=training_hooks(self.observer, f"{self.label} {name}", state),
        )
        save_weights(self.subject, file, needed_parameters(self.subject))
        return file


def needed_parameters(subject: Subject) -> set[str]:
    """Names of the parameters that channel deltas are computed from."""
    if subject.access == "adapter":
        return {name for name, parameter in subject.model.named_parameters() if ".lora_" in name}
    return {projection.weight for projection in subject.architecture.projections()}


def _write_pair(poisoned: Path, clean: Path, target: Path, *, as_delta: bool) -> None:
    if as_delta:
        with safe_open(str(poisoned), framework="pt") as left, safe_open(str(clean), framework="pt") as right:
            tensors = {n: left.get_tensor(n).float() - right.get_tensor(n).float() for n in left.keys()}  # noqa: SIM118
    else:
        tensors = {f"poisoned/{n}": t for n, t in load_file(str(poisoned)).items()}
        tensors |= {f"clean/{n}": t for n, t in load_file(str(clean)).items()}
    save_file(tensors, str(target))
