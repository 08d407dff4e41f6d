"""untrigger: purify language models and LoRA adapters from backdoors.

The commands as functions: `purify(Request(...))`, `attack(AttackRequest(...))`, `evaluate(EvaluateRequest(...))`,
`compare(Request(...))`, `scan(ScanRequest(...))`, `analyse(AnalyseRequest(...))`, `mt_bench(MtBenchRequest(...))`,
`utility(UtilityRequest(...))`, `verify(FOLDER)`, `reproduce(ReproduceRequest(...))`, `sign(FOLDER, KEY)`,
`push(PushRequest(...))`; options are the frozen models of `untrigger.config`. Everything is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from untrigger.config import (
        AnalyseOptions,
        AttackOptions,
        CompareOptions,
        MeasureOptions,
        MtBenchOptions,
        PurifyOptions,
        UtilityOptions,
    )
    from untrigger.jobs.analyse import AnalyseRequest, analyse
    from untrigger.jobs.attack import AttackRequest, attack
    from untrigger.jobs.compare import compare
    from untrigger.jobs.evaluate import EvaluateRequest, evaluate
    from untrigger.jobs.mt_bench import MtBenchRequest, mt_bench
    from untrigger.jobs.purify import purify
    from untrigger.jobs.push import PushRequest, push
    from untrigger.jobs.reproduce import ReproduceRequest, reproduce
    from untrigger.jobs.request import Request
    from untrigger.jobs.scan import ScanRequest, scan
    from untrigger.jobs.sign import sign
    from untrigger.jobs.utility import UtilityRequest, utility
    from untrigger.jobs.verify import verify

__version__ = "0.1.0"

_HOMES = {
    "purify": "untrigger.jobs.purify",
    "Request": "untrigger.jobs.request",
    "attack": "untrigger.jobs.attack",
    "AttackRequest": "untrigger.jobs.attack",
    "compare": "untrigger.jobs.compare",
    "CompareOptions": "untrigger.config",
    "evaluate": "untrigger.jobs.evaluate",
    "EvaluateRequest": "untrigger.jobs.evaluate",
    "mt_bench": "untrigger.jobs.mt_bench",
    "MtBenchRequest": "untrigger.jobs.mt_bench",
    "analyse": "untrigger.jobs.analyse",
    "AnalyseRequest": "untrigger.jobs.analyse",
    "AnalyseOptions": "untrigger.config",
    "PurifyOptions": "untrigger.config",
    "AttackOptions": "untrigger.config",
    "MeasureOptions": "untrigger.config",
    "MtBenchOptions": "untrigger.config",
    "scan": "untrigger.jobs.scan",
    "ScanRequest": "untrigger.jobs.scan",
    "utility": "untrigger.jobs.utility",
    "UtilityRequest": "untrigger.jobs.utility",
    "UtilityOptions": "untrigger.config",
    "verify": "untrigger.jobs.verify",
    "reproduce": "untrigger.jobs.reproduce",
    "ReproduceRequest": "untrigger.jobs.reproduce",
    "sign": "untrigger.jobs.sign",
    "push": "untrigger.jobs.push",
    "PushRequest": "untrigger.jobs.push",
}

__all__ = [
    "AnalyseOptions",
    "AnalyseRequest",
    "AttackOptions",
    "AttackRequest",
    "CompareOptions",
    "EvaluateRequest",
    "MeasureOptions",
    "MtBenchOptions",
    "MtBenchRequest",
    "PurifyOptions",
    "PushRequest",
    "ReproduceRequest",
    "Request",
    "ScanRequest",
    "UtilityOptions",
    "UtilityRequest",
    "analyse",
    "attack",
    "compare",
    "evaluate",
    "mt_bench",
    "purify",
    "push",
    "reproduce",
    "scan",
    "sign",
    "utility",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'untrigger' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
