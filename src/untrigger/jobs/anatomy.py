"""`untrigger analyse --signatures`: where signatures lie, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from untrigger import __version__
from untrigger.analysis.anatomy import rank_agreement
from untrigger.errors import UsageError
from untrigger.files import publish_folder
from untrigger.models.untrusted.output import refuse_output, refuse_taken
from untrigger.report.anatomy import (
    MARKDOWN,
    RESULT,
    TABLE,
    AnatomyResult,
    OverlapResult,
    SignaturePlaces,
    csv_text,
    markdown_text,
)
from untrigger.report.summary import channel_counts
from untrigger.signature.overlap import Stability, overlap
from untrigger.signature.select import ScoreTable
from untrigger.signature.store import INDEX, load_scores, load_signature, load_stability
from untrigger.signature.types import Signature

STAGE = "signature"


@dataclass(frozen=True)
class Stored:
    """A signature that was read, the scores it was chosen from, and how it settled as pairs were added."""

    name: str
    signature: Signature
    scores: ScoreTable
    stability: tuple[Stability, ...]


def anatomy(folders: Sequence[Path], output: Path) -> AnatomyResult:
    """Channel counts of every signature, overlap and rank agreement of every two; writes them to `output`.

    Raises:
        UsageError: a folder without a signature, signatures of different layouts, or an output folder that exists.
        InputRefused: a broken signature.
    """
    refuse_output(output, *map(str, folders))
    refuse_taken(output)
    every = [read_stored(folder) for folder in folders]
    result = AnatomyResult(
        version=__version__,
        signatures=tuple(
            SignaturePlaces(
                name=one.name,
                counts=channel_counts(one.signature),
                heads=len(one.signature.heads),
                stability=one.stability,
            )
            for one in every
        ),
        overlaps=tuple(
            _compared(first, second, every[first], every[second])
            for first, second in combinations(range(len(every)), 2)
        ),
    )

    def build(folder: Path) -> None:
        (folder / RESULT).write_text(result.to_json(), encoding="utf-8")
        (folder / TABLE).write_text(csv_text(result.signatures), encoding="utf-8")
        (folder / MARKDOWN).write_text(markdown_text(result), encoding="utf-8")

    publish_folder(build, output)
    return result


def read_stored(folder: Path) -> Stored:
    """The signature in a folder, or in the run folder of a purification.

    Raises:
        UsageError: there is none.
        InputRefused: it is broken.
    """
    for place in (folder, folder / STAGE):
        if (place / INDEX).is_file():
            return Stored(str(folder), load_signature(place), load_scores(place), load_stability(place))
    raise UsageError(
        f"{folder} holds no signature",
        todo="name the run folder of a purification that was run with --keep-run, or the folder signature in it",
    )


def _compared(first: int, second: int, left: Stored, right: Stored) -> OverlapResult:
    found = overlap(left.signature, right.signature)
    return OverlapResult(
        first=first + 1,
        second=second + 1,
        shared=found.shared,
        union=found.union,
        expected_shared=found.expected_shared,
        jaccard=found.jaccard,
        expected_jaccard=found.expected_jaccard,
        spearman=rank_agreement(left.scores, right.scores),
    )
