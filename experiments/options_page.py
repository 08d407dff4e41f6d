"""Writes docs/reference/options.md, the options of a treatment and their defaults; `--check` tells if it is stale.

python experiments/options_page.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from untrigger.config import Access, Effort
from untrigger.presets import default_options, effort_options, merged

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "options.md"
HEAD = """# Options of a treatment

What `untrigger purify` and `untrigger compare` take besides a model, and what each option is where it is not given:
for an adapter and for a whole model. A defence's own options count where that defence is run
([defences](defences.md)). Why the defaults are what they are: [defaults](../explanation/defaults.md). `result.json`
holds the options in force. Made by `python experiments/options_page.py`.

| option | adapter | whole model | |
|---|---|---|---|
"""
EFFORTS = """
## Efforts

What `--effort` sets in place of these; `standard` sets nothing.

| effort | option | adapter | whole model |
|---|---|---|---|
"""
Leaf = tuple[str, object, str]


def leaves(group: BaseModel, inside: str = "") -> Iterator[Leaf]:
    """Flag, value and description of every option, those of nested groups included."""
    for name, field in type(group).model_fields.items():
        value, flag = getattr(group, name), f"{inside}{name.replace('_', '-')}"
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{flag}.")
        else:
            yield f"--{flag}", value, " ".join((field.description or "").split())


def shown(value: object) -> str:
    """A value as one would give it."""
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows() -> Iterator[str]:
    """A row an option."""
    both = [list(leaves(default_options(access))) for access in ("adapter", "full")]
    for (flag, adapter, what), (_, full, _) in zip(*both, strict=True):
        yield f"| `{flag}` | {shown(adapter)} | {shown(full)} | {what.replace('|', '/')} |"


def effort_rows() -> Iterator[str]:
    """A row for each option that an effort changes in one of the settings."""
    for effort in get_args(Effort):
        given = {access: dict(_changed(effort, access)) for access in ("adapter", "full")}
        for flag in dict.fromkeys([*given["adapter"], *given["full"]]):
            cells = [given[access].get(flag, "as above") for access in ("adapter", "full")]
            yield f"| {effort} | `{flag}` | {' | '.join(cells)} |"


def _changed(effort: Effort, access: Access) -> Iterator[tuple[str, str]]:
    plain = default_options(access)
    for (flag, before, _), (_, after, _) in zip(
        leaves(plain), leaves(merged(plain, effort_options(effort, access))), strict=True
    ):
        if before != after:
            yield flag, shown(after)


def main() -> int:
    """Exit code 1 if the page was (or, with `--check`, is) out of date."""
    fresh = HEAD + "\n".join(rows()) + "\n" + EFFORTS + "\n".join(effort_rows()) + "\n"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    return int(not PAGE.exists() or fresh != PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
