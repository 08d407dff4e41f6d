"""The command as a user meets it: exit codes, one line on standard error, nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs_options import SMALL_FLAGS
from tiny import save_tiny
from trials import Ended
from untrigger import __version__


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def assert_refused(done: Ended, code: int, *words: str) -> None:
    assert done.code == code, (done.code, done.err)
    last = done.err.strip().splitlines()[-1]
    assert "Traceback" not in done.err
    for word in words:
        assert word in last, last


def test_purify_writes_a_model_and_says_where(untrigger, tmp_path, model, records):
    done = untrigger("purify", model, "-o", tmp_path / "out", "--data", records, *SMALL_FLAGS)
    assert done.code in (0, 1), done.err
    assert "perplexity" in done.out
    assert str(tmp_path / "out") in done.out.replace("\n", "")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["schema_version"] == 1
    assert done.code == (0 if result["verdict"]["met"] else 1)
    again = untrigger("purify", model, "-o", tmp_path / "out", "--data", records, "--format", "json", *SMALL_FLAGS)
    assert json.loads(again.out) == result
    assert again.code == done.code


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["purify", "MODEL"], 4, "--output"),
        (["purify", "MODEL", "-o", "OUT", "--ratoi", "3"], 4, "ratoi"),
        (["purify", "MODEL", "-o", "OUT", "--seed", "x"], 4, "see untrigger purify --help"),
        (
            ["purify", "MODEL", "-o", "OUT", "--signature.ratio", "1.5"],
            4,
            "--signature.ratio '1.5': Input should be less than 1",
        ),
        (["purify", "MODEL", "-o", "OUT", "--unlearning.least-step", "x"], 4, "--unlearning.least-step 'x': Input"),
        (["purify", "MODEL", "-o", "OUT", "--inversion.shortest", "9"], 4, "--inversion: no sentence has 9 tokens"),
        (["purify", "MODEL", "-o", "OUT", "--attack", "badnet"], 4, "belong together"),
        (["purify", "MODEL", "-o", "OUT", "--attack", "badnets", "--behaviour", "code"], 4, "badnet"),
        (["purify", "MODEL", "-o", "OUT", "--variants.families", "insults"], 4, "insult"),
        (["purify", "nowhere/at/all", "-o", "OUT"], 4, "nowhere/at/all"),
        (["purify", "MODEL", "-o", "OUT", "--data", "missing.json"], 4, "missing.json"),
        (["purify", "EMPTY", "-o", "OUT"], 3, "EMPTY"),
        (["purify", "MODEL", "-o", "OUT", "--defence", "prune", "--repair.keys", "3"], 4, "--repair.*"),
        (["evaluate", "MODEL", "--guard.threshold", "5"], 4, "--reference"),
        (["evaluate", "MODEL", "--relearning.clean-records", "5"], 4, "--relearn"),
        (["frobnicate"], 4, "frobnicate"),
    ],
)
def test_bad_calls_say_what_is_wrong_in_one_line(untrigger, tmp_path, words, code, text):
    base = save_tiny(tmp_path / "base")
    (tmp_path / "empty").mkdir()
    names = {
        "MODEL": base,
        "OUT": tmp_path / "out",
        "EMPTY": tmp_path / "empty",
    }
    given = [names.get(word, word) for word in words]
    assert_refused(untrigger(*given), code, str(names.get(text, text)))
    assert not (tmp_path / "out").exists()


def test_the_package_can_be_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "untrigger", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == __version__


def test_errors_come_as_json_on_request(untrigger, tmp_path, model):
    done = untrigger("purify", model, "-o", tmp_path / "out", "--attack", "badnet", "--format", "json")
    assert done.code == 4
    assert json.loads(done.err.strip().splitlines()[-1])["error_code"] == "usage"
    assert done.out == ""


def test_attack_and_evaluate_work_together(untrigger, tmp_path, model, records):
    flags = [
        "--prompts",
        records,
        "--clean-records",
        "6",
        "--train.epochs",
        "1",
        "--measure.max-prompts",
        "3",
        "--measure.max-new-tokens",
        "4",
    ]
    planted = untrigger("attack", model, "-o", tmp_path / "suspect", "--data", records, *flags)
    assert planted.code == 0, planted.err
    words = ("evaluate", tmp_path / "suspect", "--base", model, "--attack", "badnet", "--behaviour", "sentiment")
    found = untrigger(*words, "--prompts", records, "--max-new-tokens", 4, "--format", "json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["measurement"]["attack_success"]["n"] == 12
    shown = untrigger(*words, "--prompts", records, "--max-new-tokens", 4)
    assert "attack success" in shown.out and max(map(len, shown.out.splitlines())) <= 80, shown.out


def test_no_library_warns_at_its_import():
    code = "from untrigger.cli.main import run; run(['doctor'])"  # a process of its own: imports happen once
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "threads, fp32 multiplied by" in done.stdout
    assert done.stderr == ""


def test_doctor_answers_without_a_home(untrigger, tmp_path, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("UNTRIGGER_CACHE", str(tmp_path / "cache"))
    done = untrigger("doctor", "--format", "json")
    assert done.code in (0, 1), done.err
    names = {row["name"] for row in json.loads(done.out)}
    assert {"torch", "memory", "cache", "micro", "smollm2-135m"} <= names
