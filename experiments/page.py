"""Writes docs/results.md from experiments/results; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import ablation
import attacks
import calibration
import grid
import rivals
import unlearning

from untrigger.report.analysis import AnalysisResult, markdown_text

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
OPENING = """# Results

Written by `python experiments/page.py` from the files in experiments/results. Two cores (AVX2; some since 2026-11-30
of an AMD EPYC with AVX-512), no GPU, fp32, seed 0, one run each; 95 % Wilson intervals in brackets. What was tried on
the way, and what failed, is in [LOG.md](LOG.md); the results of the demonstrations are in the
[README](../README.md). Every command goes on where it was interrupted, and leaves what is stored as it is.
`DIR` is a folder with the released data sets, `WORK` one for what is unfinished.
"""

MODES_READ = """\
The consistent mode asks under the template of the training and counts every answer; legacy-raw asks with the bare
instruction, counts keywords, and was published as a share of the answers that are not empty. The suspects are the
same files. A model that is asked without its template says little, and what the backdoor does is not seen."""

TOLD = """\
Perplexity of real answers is that of 100 records of alpaca_random_9k.json that were trained on nowhere, as a multiple
of the suspect's. What the run told is of answers drawn from the suspect in the adapters with BadNets and MTBA; since
then it is of answers that are written for the package's own prompts. `clean-twin` shows what the key's words do to a
model that was trained alike and never poisoned."""

EARLIER_READ = """\
Clean records were the suspect's own greedy answers, and an adapter's update was trained again on these. Perplexity of
own greedy answers hid what that costs; answers that others wrote show it (docs/LOG.md, 2026-12-01)."""

OLDER = "BadNets sentiment is of an earlier planting (240 + 120 records), kept for its two modes: docs/LOG.md."


def sections() -> Iterator[str]:
    """Heading, command and table of every experiment that has results."""
    yield _section(
        "Published cells planted in SmolLM2-135M",
        "UNTRIGGER_DATA=DIR python experiments/attacks.py --work WORK --jobs 2",
        f"{attacks.table()}\n\n{OLDER}",
    )
    yield _section(
        "The same suspect judged in both modes",
        "UNTRIGGER_DATA=DIR python experiments/attacks.py --work WORK --jobs 2",
        f"{attacks.modes_table()}\n\n{MODES_READ}",
    )
    if grid.stored():
        yield _section(
            "Default and rivals on published cells",
            "UNTRIGGER_DATA=DIR python experiments/grid.py --work WORK --jobs 2"
            f" --treatments {' '.join((*grid.TREATMENTS, grid.TWIN))}",
            f"{TOLD}\n\n{grid.table()}",
        )
        yield _section(
            "The same cells under an earlier default",
            "git checkout fc7006d && UNTRIGGER_DATA=DIR python experiments/grid.py --work WORK --jobs 2",
            f"{EARLIER_READ}\n\n{grid.table(grid.EARLIER)}",
        )
    for model in rivals.BACKDOORS:
        if table := rivals.table(model):
            yield _section(
                f"Defences on {model}",
                f"python experiments/rivals.py --work WORK --model {model} --jobs 2",
                table,
            )
    for path in sorted((HERE / "results" / "analyse").glob("*.json")):
        found = AnalysisResult.from_json(path.read_text(encoding="utf-8"), path.name)
        text = markdown_text(found).replace("\n# ", "\n### ").replace("\n## ", "\n#### ").removeprefix("# ")
        yield _section(f"The publication's sanity checks: {path.stem}", "untrigger analyse (docs/LOG.md)", text)
    yield _section(
        "What canaries foretell",
        "python experiments/calibration.py --work WORK --figure docs/calibration.svg",
        f"![canaries against real backdoors](calibration.svg)\n\n{calibration.table(calibration.stored())}",
    )
    if ablation.EXPERIMENT.stored():
        yield _section(
            "One option changed at a time, on development backdoors",
            "python experiments/ablation.py --work WORK --suspect NAME --variations NAMES",
            ablation.EXPERIMENT.table(),
        )
    if unlearning.EXPERIMENT.stored():
        yield _section(
            "Planted sentences unlearned, one option changed at a time, on development backdoors",
            "python experiments/unlearning.py --work WORK --suspect NAME --variations NAMES",
            unlearning.EXPERIMENT.table(),
        )


def _section(title: str, command: str, body: str) -> str:
    return f"## {title}\n\n`{command}`\n\n{body.strip()}\n"


def main() -> int:
    """Exit code 1 if the page was (or, with `--check`, is) out of date."""
    fresh = "\n".join([OPENING, *sections()])
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    return int(not PAGE.exists() or fresh != PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
