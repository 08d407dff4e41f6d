"""Every option, once: frozen models from which flags, help, files and docs derive.

Defaults are those of the measured recipe (docs/explanation/defaults.md); the published ones are in presets.py.
"""

from __future__ import annotations

from untrigger.config.base import (
    Access,
    AdapterOptions,
    Deployed,
    Effort,
    Options,
    ScoringMode,
    TemplateName,
    TrainOptions,
    split_names,
)
from untrigger.config.benchmarks import HumanEvalOptions, JudgeOptions, MtBenchOptions, UtilityOptions
from untrigger.config.jobs import CHECKS, AnalyseOptions, AttackOptions, CompareOptions, PurifyOptions
from untrigger.config.measuring import (
    AskOptions,
    BrokenOptions,
    EvaluateOptions,
    GateOptions,
    GuardOptions,
    MeasureOptions,
    RelearningOptions,
)
from untrigger.config.method import (
    InversionOptions,
    KeyWordOptions,
    RecallOf,
    RenewalOptions,
    RepairOptions,
    SignatureOptions,
    SuppressOptions,
    TitrationOptions,
    UnlearningOptions,
    VariantOptions,
)
from untrigger.config.rivals import (
    BudgetOptions,
    ConsistencyOptions,
    EntrapmentOptions,
    FinetuneOptions,
    Int4Options,
    KnownKeyOptions,
    MixingOptions,
    PruneOptions,
    RandomOptions,
    WandaOptions,
)

__all__ = [
    "CHECKS",
    "Access",
    "AdapterOptions",
    "AnalyseOptions",
    "AskOptions",
    "AttackOptions",
    "BrokenOptions",
    "BudgetOptions",
    "CompareOptions",
    "ConsistencyOptions",
    "Deployed",
    "Effort",
    "EntrapmentOptions",
    "EvaluateOptions",
    "FinetuneOptions",
    "GateOptions",
    "GuardOptions",
    "HumanEvalOptions",
    "Int4Options",
    "InversionOptions",
    "JudgeOptions",
    "KeyWordOptions",
    "KnownKeyOptions",
    "MeasureOptions",
    "MixingOptions",
    "MtBenchOptions",
    "Options",
    "PruneOptions",
    "PurifyOptions",
    "RandomOptions",
    "RecallOf",
    "RelearningOptions",
    "RenewalOptions",
    "RepairOptions",
    "ScoringMode",
    "SignatureOptions",
    "SuppressOptions",
    "TemplateName",
    "TitrationOptions",
    "TrainOptions",
    "UnlearningOptions",
    "UtilityOptions",
    "VariantOptions",
    "WandaOptions",
    "split_names",
]
