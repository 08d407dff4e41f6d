"""Results in lm-eval's own layout, `results_<date>.json` and `samples_<task>_<date>.jsonl`, for its viewers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from untrigger.evaluation.utility.messages import RESULTS

BY_TASK = ("results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
"""Tables by task name; every other field is the same in each task's results, or its own date."""


def date_name(seconds: float) -> str:
    """A time as lm-eval writes it into file names: ISO, with dashes for colons."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().replace(":", "-")


def merged_results(each: Sequence[Mapping[str, object]], config: Mapping[str, object]) -> dict[str, object]:
    """The results of several evaluations as one; `config` replaces fields of lm-eval's own."""
    whole: dict[str, object] = dict(each[0])
    for name in BY_TASK:
        tables = [table for results in each if isinstance(table := results.get(name), dict)]
        if tables:
            whole[name] = {key: value for table in tables for key, value in table.items()}
    first = each[0]["config"]
    whole["config"] = {**(first if isinstance(first, dict) else {}), **config}
    return whole


def write_layout(folders: Iterable[Path], destination: Path, config: Mapping[str, object]) -> None:
    """Writes the results of several task folders and copies their samples into one folder.

    Raises:
        OSError: no space or no right to write; nothing is swallowed.
    """
    tasks = list(folders)
    each = [json.loads((folder / RESULTS).read_text(encoding="utf-8")) for folder in tasks]
    date = date_name(max(results["date"] for results in each))
    text = json.dumps(merged_results(each, config), indent=2, ensure_ascii=False)
    (destination / f"results_{date}.json").write_text(text, encoding="utf-8")
    for folder in tasks:
        for samples in sorted(folder.glob("samples_*.jsonl")):
            shutil.copyfile(samples, destination / f"{samples.stem}_{date}.jsonl")
