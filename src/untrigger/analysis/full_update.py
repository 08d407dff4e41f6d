"""The update of a whole model, edited tensor by tensor from stored copies of the suspect and its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from untrigger.analysis.edits import Edits, Group, module_groups, moves
from untrigger.errors import InputRefused
from untrigger.models.architecture import Architecture
from untrigger.models.state import embeddings_of
from untrigger.models.subject import Subject


@dataclass(frozen=True, eq=False)
class FullUpdate:
    """The difference of two whole models, kept as two files of every parameter in the loaded model's type."""

    model: nn.Module
    architecture: Architecture
    kinds: Mapping[str, Group]
    """Parameter name -> what it belongs to."""
    suspect: Path
    base: Path

    @classmethod
    def of(cls, subject: Subject, suspect: Path, base: Path) -> FullUpdate:
        """The update of a subject in the full setting, with the files that hold its weights and the base's."""
        return cls(subject.model, subject.architecture, parameter_groups(subject), suspect, base)

    def fits(self, edits: Edits) -> bool:
        """Whether blocks that trade have weights of one shape."""
        shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        return all(shapes[target] == shapes[source] for target, source, _ in self._parameters(edits))

    @torch.no_grad()
    def set_(self, edits: Edits) -> None:
        """Base plus edited update, one tensor at a time; without an update it is the base, bit for bit."""
        parameters = dict(self.model.named_parameters())
        with _opened(self.suspect, self.base) as (suspect, base):
            for target, source, factor in self._parameters(edits):
                own = base.get_tensor(target)
                if factor:
                    own = shifted(own, suspect.get_tensor(source), base.get_tensor(source), factor)
                parameters[target].copy_(own)

    @torch.no_grad()
    def restore_(self) -> None:
        """Copies every weight back."""
        with _opened(self.suspect) as (suspect,):
            for name, parameter in self.model.named_parameters():
                parameter.copy_(suspect.get_tensor(name))

    def _parameters(self, edits: Edits) -> Iterator[tuple[str, str, float]]:
        """Parameters that change: target, source and factor."""
        for move in moves(edits, self.architecture):
            for ending in (".weight", ".bias"):
                if f"{move.target}{ending}" in self.kinds:
                    yield f"{move.target}{ending}", f"{move.source}{ending}", move.factor
        rest = {Group.EMBEDDINGS: edits.embeddings, Group.NORMS: edits.norms}
        for name, group in self.kinds.items():
            if rest.get(group, 1.0) != 1:
                yield name, name, rest[group]


def shifted(
    base: Float[Tensor, "..."], suspect_source: Float[Tensor, "..."], base_source: Float[Tensor, "..."], factor: float
) -> Float[Tensor, "..."]:
    """The base plus a factor times another place's update, added up in fp32 at least."""
    wide = torch.promote_types(base.dtype, torch.float32)
    return (base.to(wide) + factor * (suspect_source.to(wide) - base_source.to(wide))).to(base.dtype)


def parameter_groups(subject: Subject) -> dict[str, Group]:
    """What each parameter of a whole model belongs to; the biases of a module belong to it."""
    modules = module_groups(subject.architecture)
    vocabulary = {id(parameter) for end in embeddings_of(subject.model) for parameter in end.parameters()}
    return {
        name: Group.EMBEDDINGS if id(parameter) in vocabulary else modules.get(name.rpartition(".")[0], Group.NORMS)
        for name, parameter in subject.model.named_parameters()
    }


def full_groups(subject: Subject, base: Subject) -> frozenset[Group]:
    """Where two whole models of the same shapes differ."""
    others = dict(base.model.named_parameters())
    kinds = parameter_groups(subject)
    return frozenset(
        kinds[name]
        for name, parameter in subject.model.named_parameters()
        if not torch.equal(parameter, others[name])
    )


def require_same_shapes(suspect: Subject, base: Subject) -> None:
    """Refuses a base whose weights cannot be subtracted from the suspect's.

    Raises:
        InputRefused: other weights or shapes; names the first.
    """
    own, other = ({name: tuple(p.shape) for name, p in one.model.named_parameters()} for one in (suspect, base))
    for name in sorted({*own, *other}):
        if own.get(name) != other.get(name):
            raise InputRefused(
                f"{base.source.reference} is no base of {suspect.source.reference}: {name} has shape"
                f" {other.get(name, 'none')} there and {own.get(name, 'none')} here",
                todo="name the model that the suspect was trained from",
            )


@runtime_checkable
class _Stored(Protocol):
    def get_tensor(self, name: str, /) -> Tensor: ...


@contextmanager
def _opened(*paths: Path) -> Iterator[tuple[_Stored, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(safe_open(str(path), framework="pt")) for path in paths)
