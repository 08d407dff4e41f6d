from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from untrigger.backdoors.synthetic import BEHAVIOURS
from untrigger.config import PurifyOptions
from untrigger.defences.registry import defence
from untrigger.presets import default_options, merged
from untrigger.report.analysis import AnalysisResult

ROOT = Path(__file__).parent.parent


ANALYSES = sorted((ROOT / "experiments" / "results" / "analyse").glob("*.json"))


def check(script: Path) -> int:
    return subprocess.run([sys.executable, str(script), "--check"], check=False).returncode


def test_the_readme_shows_the_committed_results():
    assert check(ROOT / "experiments" / "tables.py") == 0


def test_the_page_of_results_shows_the_committed_ones():
    assert check(ROOT / "experiments" / "page.py") == 0
    told = (ROOT / "docs" / "results.md").read_text()
    cells = (ROOT / "experiments" / "results" / "attacks").glob("*.consistent.json")
    assert all(f"| {path.name.removesuffix('.consistent.json')} | consistent |" in told for path in cells)


def test_the_page_of_options_shows_those_there_are():
    assert check(ROOT / "experiments" / "options_page.py") == 0
    told = (ROOT / "docs" / "reference" / "options.md").read_text()
    assert "| `--unlearning.train.last-blocks` | 1 | 0.33 |" in told
    assert "| thorough | `--renewal.remainder` | 0 | as above |" in told
    in_force = merged(default_options("full"), PurifyOptions()).repair.train.batch_size
    assert f"| `--repair.train.batch-size` | 4 | {in_force} |" in told and in_force != 4


def test_a_stale_table_is_found_and_rewritten(tmp_path):
    (tmp_path / "experiments" / "results").mkdir(parents=True)
    script = tmp_path / "experiments" / "tables.py"
    for name in ("tables.py", "grid.py", "attacks.py", "common.py", "real_answers.py"):
        script.with_name(name).write_text((ROOT / "experiments" / name).read_text())
    end = "<!-- end of results -->"
    readme = f"Before\n<!-- results -->\nold\n{end}\nThen\n<!-- results of the grid -->\n{end}\nAfter\n"
    (tmp_path / "README.md").write_text(readme)
    assert check(script) == 1
    subprocess.run([sys.executable, str(script)], check=True)
    assert check(script) == 0
    assert (tmp_path / "README.md").read_text().endswith("<!-- end of results -->\nAfter\n")


def test_the_published_cells_are_eleven_and_their_names_plantable(monkeypatch):
    from untrigger.backdoors.lookup import lookup

    monkeypatch.syspath_prepend(ROOT / "experiments")
    from attacks import CELLS

    assert len({cell.name for cell in CELLS}) == len(CELLS) == 11
    assert all(lookup(cell.attack, cell.behaviour).behaviour.task == cell.task for cell in CELLS)


def test_the_grid_holds_six_cells_in_both_settings_and_leaves_their_family_out(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import grid

    assert len({one.name for one in grid.SUSPECTS}) == len(grid.SUSPECTS) == 12
    own = {"sentiment": "insult", "refusal": "refusal", "code": "code"}
    for one in grid.SUSPECTS:
        families = grid.TREATMENTS["held-out"].options(one.cell).variants.families
        assert len(families) == len(BEHAVIOURS) - 1 and own[one.cell.behaviour] not in families
        assert grid.TREATMENTS["default"].options(one.cell) == PurifyOptions()
    assert {defence(one.defence).name for one in grid.TREATMENTS.values()} == {"vaccine", "paper", "finetune"}
    assert grid.table().startswith("| suspect | treatment |")


def test_a_default_that_planted_nothing_is_the_held_out_treatment_as_well(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import grid

    monkeypatch.setattr(grid, "RESULTS", tmp_path)
    one = grid.SUSPECTS[0]
    assert not one.planted_nothing()
    text = (ROOT / "experiments" / "results" / "micro-full-badnet-sentiment.json").read_text()
    one.stored("default", "purified").write_text(text)  # of a treatment that ends with signature and repair
    assert not one.planted_nothing()
    result = json.loads(text)
    result["stages"] = [stage for stage in result["stages"] if stage["name"] != "signature"]
    one.stored("default", "purified").write_text(json.dumps(result))
    assert one.planted_nothing()
    runner, done = grid.Runner(one, tmp_path, "micro", 4), []
    monkeypatch.setattr(grid, "plant", lambda *_: tmp_path)
    monkeypatch.setattr(grid.Runner, "measured", lambda self, model, name: done.append(name))
    monkeypatch.setattr(grid.Runner, "scored", lambda self, model, name: None)
    monkeypatch.setattr(grid.Runner, "treated", lambda self, suspect, name: tmp_path)
    runner.run(["default", "held-out", "paper"])
    assert done == ["suspect", "default", "paper"]


@pytest.mark.parametrize("access", ["adapter", "full"])
def test_every_ablation_changes_the_defaults_of_its_setting(monkeypatch, access):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import ablation

    ours = default_options(access)
    changed = {name: merged(ours, options) for name, options in ablation.VARIATIONS.items()}
    assert changed.pop("default") == ours
    assert all(options != ours for options in changed.values())


def test_every_variation_of_the_unlearning_is_one_of_its_own(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import unlearning

    ours = [default_options(access) for access in ("adapter", "full")]
    changed = [[merged(one, options) for one in ours] for options in unlearning.VARIATIONS.values()]
    assert changed[0] == ours
    told = {tuple(one.model_dump_json() for one in both) for both in changed}  # "all-blocks" is an adapter's default
    assert len(told) == len(changed)


@pytest.mark.parametrize("path", ANALYSES, ids=lambda path: path.stem)
def test_committed_analyses_can_be_read_and_hold_a_backdoor(path):
    found = AnalysisResult.from_json(path.read_text(), path.name)
    first = found.ablations[0].rates
    assert first is not None and first.attack_success is not None and first.attack_success.value >= 0.15
    assert [row.row for row in found.readings] == ["attention", "MLP", "block", "shuffle"]


def test_the_committed_calibrations_are_told_with_their_rank_correlation(monkeypatch, capsys):
    script = ROOT / "experiments" / "calibration.py"
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [script.name, "--table"])
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out
    results = list((ROOT / "experiments" / "results" / "calibration").glob("*.json"))
    assert results and all(path.stem.removeprefix("micro-") in told for path in results)
    assert "Spearman's rank correlation over" in told.splitlines()[-1]
