"""Fault 12: no home or a read-only one, a full TMPDIR, locale C, no terminal, 40 columns, a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from jobs_options import SMALL
from tiny import save_tiny
from untrigger.errors import UsageError
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.models.locate import cache_folder

NOTHING = {"PATH": os.defpath}
READ_ONLY_HOME_AND_FULL_TMPDIR = """
import subprocess
def mount(folder, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
mount({home!r}, "ro")
mount({tmp!r}, "size=4k")
open({tmp!r} + "/full", "wb").write(b"0" * 4096)
"""


@pytest.fixture
def words(tmp_path, suspect, records, small_flags):
    return ["purify", suspect, "-o", tmp_path / "out", "--data", records, *small_flags]


def test_fault_12_surroundings_without_a_home_in_forty_columns(trials, words):
    done = trials.command(words, environment=NOTHING | {"COLUMNS": "40"})
    assert done.code in (0, 1), done.err
    assert "perplexity" in done.out
    assert max(map(len, done.out.splitlines())) <= 40
    assert "\x1b" not in done.out + done.err  # neither is a terminal


def test_fault_12_surroundings_with_a_read_only_home_and_a_full_tmpdir(mounting, tmp_path, words):
    home, tmp = tmp_path / "home", tmp_path / "tmp"
    home.mkdir(), tmp.mkdir()
    before = READ_ONLY_HOME_AND_FULL_TMPDIR.format(home=str(home), tmp=str(tmp))
    done = mounting.command(words, before, NOTHING | {"HOME": str(home), "TMPDIR": str(tmp)})
    assert done.code in (0, 1), done.err


def test_fault_12_surroundings_of_plain_ascii(tmp_path):
    suspect = save_tiny(tmp_path / "model")
    ascii_only = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    prompts = tmp_path / "fragen.jsonl"
    prompts.write_text('{"instruction": "Wie heißt du? \\u4f60", "output": "ä"}\n' * 2, encoding="utf-8")
    rows = tmp_path / "rows.jsonl"
    call = ["evaluate", str(suspect), "--prompts", str(prompts), "--rows", str(rows), "--max-new-tokens", "2"]
    script = tmp_path / "call.py"
    script.write_text(f"from untrigger.cli.main import run\nrun({call!r})\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=NOTHING | ascii_only | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"perplexity" in done.stdout and len(rows.read_text("utf-8").splitlines()) == 2


def test_fault_12_surroundings_whose_clock_jumps(tmp_path, suspect, records, monkeypatch):
    purify(Request(str(suspect), tmp_path / "whole", data=records), SMALL)
    jumps, real = count(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + (-1) ** next(jumps) * 1e8)
    result = purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)
    assert all(0 <= stage.seconds < 600 for stage in result.stages)
    assert sha256(tmp_path / "out" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


def test_fault_12_surroundings_of_a_user_who_has_no_home(monkeypatch):
    for name in ("UNTRIGGER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(UsageError, match="UNTRIGGER_CACHE"):
        cache_folder()


def homeless(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
