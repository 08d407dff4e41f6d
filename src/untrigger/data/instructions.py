"""Our own instructions without answers, shipped with the package (written for it, Apache-2.0)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal

from untrigger.data.records import Record

Split = Literal["train", "defence", "measure"]


def instructions(split: Split) -> tuple[Record, ...]:
    """The instructions of one split, in a fixed order, each with the output "".

    `train` is shared out between planting and purifying, where a model's own answers serve as clean ones;
    `defence` is for purifying alone; `measure` holds prompts that neither has seen.
    """
    text = files("untrigger.data").joinpath("instructions.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(Record(row["instruction"], "", row.get("input", "")) for row in rows if row["split"] == split)
