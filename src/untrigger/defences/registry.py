"""All defences, once."""

from __future__ import annotations

from untrigger.config import (
    Access,
    ConsistencyOptions,
    EntrapmentOptions,
    FinetuneOptions,
    Int4Options,
    InversionOptions,
    KnownKeyOptions,
    PruneOptions,
    PurifyOptions,
    RandomOptions,
    RenewalOptions,
    SignatureOptions,
    SuppressOptions,
    TrainOptions,
    WandaOptions,
)
from untrigger.defences.beear import beear, require_block
from untrigger.defences.crow import crow, require_blocks
from untrigger.defences.finetune import finetune
from untrigger.defences.int4 import int4, require_bitsandbytes
from untrigger.defences.interface import Defence
from untrigger.defences.known_keys import inject_and_recover
from untrigger.defences.mixing import fine_mixing, merge
from untrigger.defences.new_adapter import new_adapter
from untrigger.defences.prune import prune
from untrigger.defences.prune_channels import prune_channels
from untrigger.defences.random_channels import random_channels
from untrigger.defences.renewal import renewal
from untrigger.defences.vaccine import vaccine
from untrigger.defences.wanda import wanda
from untrigger.errors import UsageError
from untrigger.models.architecture import Architecture
from untrigger.presets import default_options, merged, paper_options

PAPER = "arXiv 2603.13461"
CROW, MIXING = "ICML 2025, arXiv 2411.12768", "EMNLP 2022 Findings, arXiv 2210.09545"
BEEAR = "EMNLP 2024, arXiv 2406.17092"
LOCPHYLAX, UNLEARNING = "ACL 2026, arXiv 2510.10265", "arXiv 2606.03785"
FAST, FROM_NOTHING, ALL_WEIGHTS = 1e-3, 7e-4, 1e-4
WANDA = "arXiv 2306.11695"
WHOLE_MODELS = frozenset[Access]({"full"})
ADAPTERS = frozenset[Access]({"adapter"})

SUPPRESSION = frozenset({"signature", "suppress"})
REPAIRED = SUPPRESSION | {"variants", "repair"}
OURS = REPAIRED | {"inversion", "unlearning", "renewal", "titration"}
FINETUNE = frozenset({"budget", "finetune"})
CONSISTENCY = frozenset({"budget", "consistency"})
KNOWN_KEYS = frozenset({"budget", "known_keys"})
RANDOM = REPAIRED | {"random"}
ROUNDED = frozenset({"int4"})
PRUNED_BY_ACTIVATION = frozenset({"budget", "wanda"})


def _ours(_: Architecture, access: Access) -> PurifyOptions:
    return default_options(access)


def _published_rate(access: Access) -> float:
    """The rate at which PAPER runs every rival."""
    return 2e-4 if access == "adapter" else 1e-5


def _as_set(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions()


def _finetune_as_published(_: Architecture, access: Access) -> PurifyOptions:
    return PurifyOptions(finetune=FinetuneOptions(learning_rate=_published_rate(access)))


def _finetune_fast(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions(finetune=FinetuneOptions(learning_rate=FAST))


def _from_nothing(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions(finetune=FinetuneOptions(learning_rate=FROM_NOTHING))


def _crow_as_compared(_: Architecture, access: Access) -> PurifyOptions:
    return PurifyOptions(consistency=ConsistencyOptions(learning_rate=_published_rate(access)))


def _crow_as_released(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions(consistency=ConsistencyOptions(learning_rate=FAST))


def _beear_at_the_same_rate(_: Architecture, access: Access) -> PurifyOptions:
    return PurifyOptions(entrapment=EntrapmentOptions(learning_rate=_published_rate(access)))


def _known_keys(access: Access, keys: int) -> PurifyOptions:
    """Neither publication's rates are known: one at which keys take within the budget, and our own repair's."""
    inject_rate = 2e-3 if access == "adapter" else 5e-4
    recover_rate = default_options(access).repair.train.learning_rate
    return PurifyOptions(known_keys=KnownKeyOptions(keys=keys, inject_rate=inject_rate, recover_rate=recover_rate))


def _several_keys(_: Architecture, access: Access) -> PurifyOptions:
    return _known_keys(access, 2)


def _one_key(_: Architecture, access: Access) -> PurifyOptions:
    return _known_keys(access, 1)


def _prune(architecture: Architecture, _: Access) -> PurifyOptions:
    return PurifyOptions(prune=PruneOptions(ratio=0.65 if architecture.model_type == "mistral" else 0.35))


def _prune_channels(_: Architecture, access: Access) -> PurifyOptions:
    ratio = default_options(access).signature.ratio
    return PurifyOptions(signature=SignatureOptions(ratio=ratio), suppress=SuppressOptions(value="zero"))


def _wanda(_: Architecture, access: Access) -> PurifyOptions:
    return PurifyOptions(wanda=WandaOptions(learning_rate=2e-4 if access == "adapter" else 1e-5))


def _wanda_only(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions(wanda=WandaOptions(repair=False))


def _random(_: Architecture, access: Access) -> PurifyOptions:
    return merged(default_options(access), PurifyOptions(random=RandomOptions(repair=False)))


def _signature_only(_: Architecture, access: Access) -> PurifyOptions:
    return merged(default_options(access), PurifyOptions(inversion=InversionOptions(enable=False)))


def _renewal(_: Architecture, access: Access) -> PurifyOptions:
    if access == "adapter":
        return default_options(access)
    train = TrainOptions(learning_rate=ALL_WEIGHTS, epochs=2, embeddings=False)
    return merged(default_options(access), PurifyOptions(renewal=RenewalOptions(records=480, train=train)))


def _norm_only(architecture: Architecture, access: Access) -> PurifyOptions:
    return _by_form(architecture, access, SignatureOptions(form="norm"))


def _alignment_only(architecture: Architecture, access: Access) -> PurifyOptions:
    return _by_form(architecture, access, SignatureOptions(form="alignment"))


def _by_form(architecture: Architecture, access: Access, form: SignatureOptions) -> PurifyOptions:
    return merged(_signature_only(architecture, access), PurifyOptions(signature=form))


def _int4_merged(_: Architecture, __: Access) -> PurifyOptions:
    return PurifyOptions(int4=Int4Options(merge_first=True))


DEFENCES = (
    Defence(
        "vaccine",
        "planted sentences unlearned, an adapter made smaller (the default)",
        "ours",
        vaccine,
        _ours,
        OURS,
    ),
    Defence("paper", "the published method", PAPER, vaccine, paper_options, OURS),
    Defence("finetune", "clean fine-tuning at the published rate", PAPER, finetune, _finetune_as_published, FINETUNE),
    Defence("finetune-1e-3", "clean fine-tuning at a rate of 1e-3", PAPER, finetune, _finetune_fast, FINETUNE),
    Defence(
        "crow",
        "fine-tuning with a consistency loss",
        CROW,
        crow,
        _crow_as_compared,
        CONSISTENCY,
        check=require_blocks,
    ),
    Defence(
        "crow-1e-3",
        "the same at its own rate of 1e-3",
        CROW,
        crow,
        _crow_as_released,
        CONSISTENCY,
        check=require_blocks,
    ),
    Defence(
        "merge",
        "linear merge with a clean model, or a scaled adapter",
        "WAG, ACL 2024 Findings, arXiv 2402.19334",
        merge,
        _as_set,
        frozenset({"mixing"}),
        needs_reference=WHOLE_MODELS,
    ),
    Defence(
        "fine-mixing",
        "random mixing with a clean model, then clean fine-tuning",
        MIXING,
        fine_mixing,
        _finetune_as_published,
        FINETUNE | {"mixing"},
        needs_reference=WHOLE_MODELS,
    ),
    Defence(
        "new-adapter",
        "a fresh adapter in its place, trained on clean records",
        "control",
        new_adapter,
        _from_nothing,
        FINETUNE,
        settings=ADAPTERS,
    ),
    Defence(
        "locphylax",
        "two known keys injected, then recovery",
        LOCPHYLAX,
        inject_and_recover,
        _several_keys,
        KNOWN_KEYS,
    ),
    Defence(
        "inject-unlearn",
        "one known key injected, then unlearned",
        UNLEARNING,
        inject_and_recover,
        _one_key,
        KNOWN_KEYS,
    ),
    Defence(
        "beear",
        "fine-tuning under an adversarial hidden shift",
        BEEAR,
        beear,
        _beear_at_the_same_rate,
        frozenset({"budget", "entrapment"}),
        check=require_block,
    ),
    Defence("prune", "the smallest weights of each matrix become zero", CROW, prune, _prune, frozenset({"prune"})),
    Defence(
        "prune-channels", "the smallest MLP channels become zero", PAPER, prune_channels, _prune_channels, SUPPRESSION
    ),
    Defence(
        "wanda", "pruning by weight and activation, then fine-tuning", WANDA, wanda, _wanda, PRUNED_BY_ACTIVATION
    ),
    Defence("wanda-only", "pruning by weight and activation", WANDA, wanda, _wanda_only, PRUNED_BY_ACTIVATION),
    Defence("random-channels", "random channels suppressed", "control", random_channels, _random, RANDOM),
    Defence(
        "random-channels-repair",
        "random channels, and our repair",
        "control",
        random_channels,
        _ours,
        RANDOM,
    ),
    Defence("signature-only", "signature, suppression and repair alone", "control", vaccine, _signature_only, OURS),
    Defence(
        "renewal-only",
        "the update made smaller; a whole model is then trained on clean records",
        "control",
        renewal,
        _renewal,
        frozenset({"renewal"}),
        needs_reference=WHOLE_MODELS,
    ),
    Defence("norm-only", "the same, channels chosen by strength alone", "control", vaccine, _norm_only, OURS),
    Defence(
        "alignment-only", "the same, channels chosen by alignment alone", "control", vaccine, _alignment_only, OURS
    ),
    Defence(
        "int4",
        "NF4 rounding; an adapter stays unrounded",
        CROW,
        int4,
        _as_set,
        ROUNDED,
        require=require_bitsandbytes,
    ),
    Defence(
        "int4-merged",
        "NF4 rounding of an adapter merged into its base",
        "control",
        int4,
        _int4_merged,
        ROUNDED,
        settings=ADAPTERS,
        require=require_bitsandbytes,
    ),
)


def defence(name: str) -> Defence:
    """The defence of this name.

    Raises:
        UsageError: there is none.
    """
    found = next((one for one in DEFENCES if one.name == name), None)
    if found is None:
        raise UsageError(f"no defence is named {name!r}", todo=f"choose from {', '.join(d.name for d in DEFENCES)}")
    return found
