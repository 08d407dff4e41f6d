"""Our own instructions, and answers to those that are measured on (written for the package, Apache-2.0)."""

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
    return tuple(Record(row["instruction"], "", row.get("input", "")) for row in _rows() if row["split"] == split)


def written_answers() -> tuple[Record, ...]:
    """The instructions of the split `measure` with answers that we wrote."""
    return tuple(
        Record(row["instruction"], row["answer"], row.get("input", "")) for row in _rows() if "answer" in row
    )


def _rows() -> list[dict[str, str]]:
    text = files("untrigger.data").joinpath("instructions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
