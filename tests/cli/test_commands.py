"""The command as a user meets it: exit codes, one line on standard error, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs_options import SMALL_FLAGS
from tiny import save_tiny
from untrigger.cli.main import run


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def untrigger(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command in this process."""

    def call(*words: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(word) for word in words])
        shown = capsys.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def assert_refused(done: Done, code: int, *words: str) -> None:
    assert done.returncode == code, (done.returncode, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last, last


def test_purify_writes_a_model_and_says_where(untrigger, tmp_path, model, records):
    done = untrigger("purify", model, "-o", tmp_path / "out", "--data", records, *SMALL_FLAGS)
    assert done.returncode in (0, 1), done.stderr
    assert "perplexity" in done.stdout
    assert str(tmp_path / "out") in done.stdout.replace("\n", "")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["schema_version"] == 1
    assert done.returncode == (0 if result["verdict"]["met"] else 1)
    again = untrigger("purify", model, "-o", tmp_path / "out", "--data", records, "--format", "json", *SMALL_FLAGS)
    assert json.loads(again.stdout) == result
    assert again.returncode == done.returncode


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["purify", "MODEL"], 4, "--output"),
        (["purify", "MODEL", "-o", "OUT", "--ratoi", "3"], 4, "ratoi"),
        (["purify", "MODEL", "-o", "OUT", "--signature.ratio", "1.5"], 4, "less than 1"),
        (["purify", "MODEL", "-o", "OUT", "--attack", "badnet"], 4, "belong together"),
        (["purify", "MODEL", "-o", "OUT", "--attack", "badnets", "--behaviour", "code"], 4, "badnet"),
        (["purify", "MODEL", "-o", "OUT", "--variants.families", "insults"], 4, "insult"),
        (["purify", "nowhere/at/all", "-o", "OUT"], 4, "nowhere/at/all"),
        (["purify", "MODEL", "-o", "OUT", "--data", "missing.json"], 4, "missing.json"),
        (["purify", "EMPTY", "-o", "OUT"], 3, "EMPTY"),
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


def test_errors_come_as_json_on_request(untrigger, tmp_path, model):
    done = untrigger("purify", model, "-o", tmp_path / "out", "--attack", "badnet", "--format", "json")
    assert done.returncode == 4
    assert json.loads(done.stderr.strip().splitlines()[-1])["error_code"] == "usage"
    assert done.stdout == ""


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
    assert planted.returncode == 0, planted.stderr
    words = ("evaluate", tmp_path / "suspect", "--base", model, "--attack", "badnet", "--behaviour", "sentiment")
    found = untrigger(*words, "--prompts", records, "--max-new-tokens", 4, "--format", "json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["measurement"]["attack_success"]["n"] == 12
    shown = untrigger(*words, "--prompts", records, "--max-new-tokens", 4)
    assert "attack success" in shown.stdout and max(map(len, shown.stdout.splitlines())) <= 80, shown.stdout


def test_doctor_answers_without_a_home(untrigger, tmp_path, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("UNTRIGGER_CACHE", str(tmp_path / "cache"))
    done = untrigger("doctor", "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    names = {row["name"] for row in json.loads(done.stdout)}
    assert {"torch", "memory", "cache", "micro", "smollm2-135m"} <= names
