"""Where the channels of signatures lie and what two signatures share: as a file, CSV, Markdown and a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from pydantic import Field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from untrigger.report.document import Document
from untrigger.report.parts import ChannelCount, Part
from untrigger.report.text import ABSENT, markdown, visible
from untrigger.signature.overlap import Stability

RESULT, TABLE, MARKDOWN = "signatures.json", "signatures.csv", "signatures.md"


class SignaturePlaces(Part):
    """One signature: how many channels of each block and role."""

    name: str
    """The folder as it was given."""
    counts: tuple[ChannelCount, ...]
    heads: int = Field(ge=0)
    """Selected heads."""
    stability: tuple[Stability, ...] = ()
    """For 2, 3, ... of its pairs; empty where it was not stored, or came from two pairs."""


class OverlapResult(Part):
    """Two signatures against each other, numbered as they were given, from 1."""

    first: int = Field(ge=1)
    second: int = Field(ge=1)
    shared: int = Field(ge=0)
    """Channels in both."""
    union: int = Field(ge=0)
    expected_shared: float = Field(ge=0)
    """By chance, with as many channels of every block and role."""
    jaccard: float | None = Field(default=None, ge=0, le=1)
    expected_jaccard: float | None = Field(default=None, ge=0, le=1)
    spearman: float | None = Field(default=None, ge=-1, le=1)
    """Mean rank correlation of the scores over projections; None where scores were not stored."""


class AnatomyResult(Document):
    """The signatures and every two of them."""

    version: str
    """Version of untrigger."""
    signatures: tuple[SignaturePlaces, ...] = Field(min_length=1)
    overlaps: tuple[OverlapResult, ...]


def csv_text(signatures: Sequence[SignaturePlaces]) -> str:
    """A line for each signature, block and role; signatures are numbered from 1, since a folder may have any name."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["signature", "layer", "role", "selected", "channels"])
    for number, signature in enumerate(signatures, start=1):
        for count in signature.counts:
            writer.writerow([number, count.layer, count.role, count.selected, count.channels])
    return file.getvalue()


def markdown_text(result: AnatomyResult) -> str:
    """The signatures, a table of blocks and roles for each, and their overlaps."""
    lines = ["# Signatures", ""]
    lines += [f"{number}. {markdown(one.name)}" for number, one in enumerate(result.signatures, start=1)]
    for number, one in enumerate(result.signatures, start=1):
        lines += ["", f"## {number}", "", *_markdown_table(places_rows(one))]
        if one.stability:
            lines += ["", *_markdown_table(stability_rows(one))]
    if result.overlaps:
        lines += ["", "## Overlap", "", *_markdown_table(overlap_rows(result.overlaps))]
    return "\n".join(lines) + "\n"


def render_anatomy(result: AnatomyResult) -> RenderableType:
    """The same for a terminal of 80 columns; nothing in it is read as markup."""
    parts: list[RenderableType] = []
    for number, one in enumerate(result.signatures, start=1):
        parts += [Text(visible(f"{number}. {one.name}"), style="bold"), _table(places_rows(one))]
        if one.stability:
            parts.append(_table(stability_rows(one)))
    if result.overlaps:
        parts += [Text("overlap", style="bold"), _table(overlap_rows(result.overlaps))]
    return Group(*parts)


def places_rows(signature: SignaturePlaces) -> list[tuple[str, ...]]:
    """Heading and a row a block: selected of all channels, by role, in percent of the role's channels."""
    roles = list(dict.fromkeys(count.role for count in signature.counts))
    blocks = dict.fromkeys(count.layer for count in signature.counts)
    by_place = {(count.layer, count.role): count for count in signature.counts}
    rows = [(str(block), *(_count(by_place.get((block, role))) for role in roles)) for block in blocks]
    return [("block", *roles), *rows]


def stability_rows(signature: SignaturePlaces) -> list[tuple[str, ...]]:
    """Heading and a row for every number of pairs below all."""
    rows = [(str(one.pairs), _number(one.jaccard), _number(one.expected_jaccard)) for one in signature.stability]
    return [("first pairs", "Jaccard with all", "by chance"), *rows]


def overlap_rows(overlaps: Sequence[OverlapResult]) -> list[tuple[str, ...]]:
    """Heading and a row for every two signatures."""
    rows = [
        (
            f"{one.first}, {one.second}",
            str(one.shared),
            f"{one.expected_shared:.0f}",
            _number(one.jaccard),
            _number(one.expected_jaccard),
            _number(one.spearman),
        )
        for one in overlaps
    ]
    return [("pair", "shared", "by chance", "Jaccard", "by chance", "Spearman"), *rows]


def _count(count: ChannelCount | None) -> str:
    return "-" if count is None else f"{count.selected} ({100 * count.selected / count.channels:.1f} %)"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in rows[0]:
        table.add_column(column)
    for row in rows[1:]:
        table.add_row(*row)
    return table
