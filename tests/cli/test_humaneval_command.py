"""`untrigger humaneval` as a user meets it."""

from __future__ import annotations

import json

import pytest

from tiny import save_tiny
from untrigger.cli.main import run

PROBLEM = {
    "task_id": "Test/0",
    "prompt": 'def one():\n    """Give one."""\n',
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}
SMALL = ("--max-new-tokens", "3", "--prompt", "completion", "--device", "cpu")


def call(capsys, *words) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run([str(word) for word in words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data" / "benchmarks" / "humaneval.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(PROBLEM) + "\n")
    return tmp_path / "data"


def test_without_permission_nothing_is_loaded_or_run(capsys, tmp_path, data):
    code, _, said = call(capsys, "humaneval", "no/model/at-all", "-o", tmp_path / "out", "--data", data)
    assert code == 4
    assert "runs code that the model writes" in said and "--allow-code-execution" in said
    assert not (tmp_path / "out").exists()


def test_a_measurement_prints_rate_and_outcomes_within_eighty_columns(capsys, tmp_path, data, monkeypatch):
    monkeypatch.setenv("UNTRIGGER_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "80")
    model = save_tiny(tmp_path / "model")
    words = ("humaneval", model, "--allow-code-execution", *SMALL)
    code, shown, _ = call(capsys, *words, "-o", tmp_path / "out")
    assert code == 0
    assert "pass@1" in shown and "n=1" in shown and "greedy" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    code, shown, _ = call(capsys, *words, "-o", tmp_path / "b", "--against", tmp_path / "out", "--format", "json")
    assert code == 0
    assert json.loads(shown)["comparison"]["p_value"] == 1.0


def test_help_names_the_permission_without_torch(capsys):
    code, shown, _ = call(capsys, "humaneval", "--help")
    assert code == 0 and "--allow-code-execution" in shown and "UNTRIGGER_DATA" in shown
