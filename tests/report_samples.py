"""A small, complete result, and text that tries to deceive whoever reads it."""

from __future__ import annotations

from math import inf

from untrigger.evaluation.attack_success import Measurement
from untrigger.evaluation.perplexity import Perplexity
from untrigger.evaluation.rate import Rate
from untrigger.report.parts import (
    ChannelCount,
    EnvironmentResult,
    GateResult,
    HeadResult,
    MeasurementResult,
    RunResult,
    ScoringResult,
    SignatureResult,
    SourceResult,
    StageResult,
    VerdictResult,
)
from untrigger.report.result import Result

HOSTILE = "a\x1b[31m\u202eevil\u2066\r\n[bold]x[/bold] <img src=x> | `y` ![z](http://e.example)\x07\x9b"


def some_result(**changes: object) -> Result:
    parts = {
        "run": RunResult(command="purify", options={"seed": 3, "train": {"epochs": 2}}, version="0.1.0", seeds=(3,)),
        "source": SourceResult(
            reference="ada/model",
            files={"adapter_model.safetensors": "0f" * 32},
            base=SourceResult(reference="ada/base", commit="c" * 40, files={}),
        ),
        "scoring": ScoringResult(
            judge="sentence",
            behaviour="insult",
            key="word",
            template="alpaca",
            template_sha256="ab",
            max_new_tokens=64,
        ),
        "stages": (
            StageResult(name="variants", seconds=12.5, tokens_trained=4096),
            StageResult(name="repair", seconds=3.0),
        ),
        "before": MeasurementResult.of(
            Measurement(Rate(2, 100, 2), Rate(97, 100, 3), Rate(1, 100, 2), Perplexity(8.314, 14042))
        ),
        "after": MeasurementResult.of(
            Measurement(Rate(3, 100, 3), Rate(1, 100), Rate(0, 100, 3), Perplexity(inf, 14042))
        ),
        "signature": SignatureResult(
            ratio=0.05,
            counts=(ChannelCount(layer=0, role="gate", selected=5, channels=100),),
            heads=(HeadResult(layer=1, head=2),),
        ),
        "verdict": VerdictResult.of(
            [GateResult(name="degeneration", rule="+5 points", met=True, reason="2 % to 3 %")]
        ),
        "not_tested": ("Other behaviours than insult.", "The model in four-bit precision."),
        "environment": EnvironmentResult(
            python="3.11.9",
            platform="Linux",
            device="cpu",
            dtype="float32",
            threads=1,
            packages={"torch": "2.13.0"},
        ),
    }
    return Result.model_validate({**parts, **changes})
