"""Adapters: settings, parts that are not purified, factors that fit, and how strong the updates are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

from jaxtyping import Float64
from torch import Tensor
from transformers import PreTrainedModel

from untrigger.inspection.findings import Collector
from untrigger.inspection.spectrum import Outlier, Spectrum, outliers, row_gram, spectrum
from untrigger.models.adapters import (
    ADAPTER_CONFIG,
    AdapterConfig,
    adapter_settings,
    unpurified_parts,
)
from untrigger.models.architecture import FAMILIES
from untrigger.models.checkpoint import StoredTensor, WeightFiles
from untrigger.models.configuration import unsafe_keys
from untrigger.models.factors import factor_faults, factor_of
from untrigger.models.json_file import read_object

MOST_RANK = 1024
"""Beyond, the norms of a module are left out: their matrices would take more memory than the factors."""
_ATTENTION = tuple(sorted({name for family in FAMILIES.values() for name in family.attention.values()}))


@dataclass
class Grams:
    """What is kept of factors and base weights while tensors stream by, by module."""

    a: dict[str, Float64[Tensor, "rank rank"]] = field(default_factory=dict)
    b: dict[str, Float64[Tensor, "rank rank"]] = field(default_factory=dict)
    base: dict[str, float] = field(default_factory=dict)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Keep a factor's Gram matrix; other tensors, and factors of a rank beyond use, leave nothing."""
        factor = factor_of(name)
        if factor is None or tensor.ndim != 2 or not tensor.dtype.is_floating_point:
            return
        wide = tensor if factor[1] == "A" else tensor.t()
        if 0 < len(wide) <= MOST_RANK:
            (self.a if factor[1] == "A" else self.b)[factor[0]] = row_gram(wide)


@dataclass(frozen=True)
class ModuleUpdate:
    """A module's update; `relative` is its Frobenius norm over the base weight's, `outlier` is among its role."""

    module: str
    spectrum: Spectrum
    relative: float | None
    outlier: Outlier | None


def check_settings(found: Collector) -> AdapterConfig | None:
    """Everything about adapter_config.json; its ranks and scales if they are sane."""
    path = found.folder / ADAPTER_CONFIG
    values = found.attempt("adapter-refused", ADAPTER_CONFIG, lambda: read_object(path))
    if values is None:
        return None
    unsafe = unsafe_keys(path, {key: value for key, value in values.items() if key != "auto_mapping"})
    for key, refusal in unsafe.items():
        found.refusal("adapter-refused", ADAPTER_CONFIG, refusal, field=key)
    for key in unpurified_parts(values):
        todo = "supported: plain LoRA on linear modules"
        found.add("adapter-part", ADAPTER_CONFIG, f"{key} is set: not purified, so refused", field=key, todo=todo)
    _named_base(found, values.get("base_model_name_or_path"))
    return found.attempt("adapter-refused", ADAPTER_CONFIG, lambda: adapter_settings(path, values))


def _named_base(found: Collector, named: object) -> None:
    if not isinstance(named, str) or not named:
        return
    far = "://" in named or ".." in named.replace("\\", "/").split("/")
    text = f"the base is named as {named[:200]!r}; it was not followed"
    rule, todo = ("base-address", "name the base yourself with --base") if far else ("named-base", "")
    found.add(rule, ADAPTER_CONFIG, text, field="base_model_name_or_path", todo=todo)


def check_tensors(
    found: Collector, weights: WeightFiles, settings: AdapterConfig | None, base: PreTrainedModel | None
) -> None:
    """Tensors that are no factors, and factors that fit neither each other nor the base.

    `base` may be without memory; without it, factors are compared with each other and with the settings.
    """
    for name, stored in weights.tensors.items():
        if factor_of(name) is None:
            text = f"{name} {stored.shape} is no LoRA factor: embeddings, saved modules and biases are not purified"
            found.add("adapter-part", stored.shard, text, field=name, todo="train the adapter without that part")
    if settings is None:
        return
    if base is not None:
        for fault in factor_faults(weights, settings.rank_of, base):
            found.refusal("adapter-refused", ADAPTER_CONFIG, fault)
    else:
        for text in _misfits(weights.tensors, settings):
            found.add("adapter-refused", ADAPTER_CONFIG, text, todo="get the adapter from its source again")


def _misfits(tensors: Mapping[str, StoredTensor], settings: AdapterConfig) -> Iterator[str]:
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, stored in tensors.items():
        if (factor := factor_of(name)) is not None:
            factors.setdefault(factor[0], {})[factor[1]] = stored.shape
    for module, shapes in factors.items():
        if len(shapes) < 2:
            yield f"{module} has one factor only, {next(iter(shapes))}"
        elif len(shapes["A"]) != 2 or len(shapes["B"]) != 2 or shapes["A"][0] != shapes["B"][1]:
            yield f"{module} has factors of shapes {shapes['A']} and {shapes['B']}, which do not fit each other"
        elif shapes["A"][0] != settings.rank_of(module):
            yield f"{module} has rank {shapes['A'][0]}, the settings say {settings.rank_of(module)}"


def module_updates(grams: Grams, settings: AdapterConfig) -> tuple[ModuleUpdate, ...]:
    """The updates of all modules that have both factors, of one rank, in the order of their names."""
    spectra = {}
    for module in sorted(grams.a.keys() & grams.b.keys()):
        a, b = grams.a[module], grams.b[module]
        if len(a) == len(b) and (one := spectrum(a, b, settings.scale_of(module))) is not None:
            spectra[module] = one
    base = {module: grams.base[module] for module in spectra if grams.base.get(module)}
    shares = {module: spectra[module].frobenius / norm for module, norm in base.items()}
    relative = {module: share for module, share in shares.items() if isfinite(share)}
    norms = relative if len(relative) == len(spectra) else {name: one.frobenius for name, one in spectra.items()}
    found = outliers(norms)
    return tuple(ModuleUpdate(name, one, relative.get(name), found.get(name)) for name, one in spectra.items())


def tell_of_updates(found: Collector, file: str, updates: tuple[ModuleUpdate, ...]) -> None:
    """Outliers, and the share of attention."""
    for update in updates:
        if update.outlier is not None and update.outlier.striking:
            text = (
                f"{update.module}: its update is {update.outlier.factor:.1f} times the median of its role"
                f" (score {update.outlier.score:.1f})"
            )
            todo = "measure the adapter with and without it: untrigger analyse"
            found.add("outlier-update", file, text, field=update.module, todo=todo)
    squares = {update.module: update.spectrum.frobenius * update.spectrum.frobenius for update in updates}
    total = sum(squares.values())
    attention = sum(square for module, square in squares.items() if module.endswith(_ATTENTION))
    if attention > 0 and isfinite(total):
        text = (
            f"attention modules hold {attention / total:.0%} of the update's squared norm; purification suppresses"
            " none of it unless --signature.heads asks for it"
        )
        found.add("attention-update", file, text)
