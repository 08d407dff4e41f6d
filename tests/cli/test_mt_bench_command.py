"""`untrigger mt-bench` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from judge_stub import judge_stub, says, write_bench
from tiny import save_tiny
from untrigger.cli.main import run


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple]:
    """Runs the command on a tiny model and an invented bench; returns exit code, standard output and error."""
    monkeypatch.setenv("UNTRIGGER_DATA", str(write_bench(tmp_path / "data")))
    monkeypatch.setenv("UNTRIGGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    model = save_tiny(tmp_path / "a model of a rather long name, as they often have")

    def call(output: str, *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        flags = ["--max-new-tokens", "1", "--batch-size", "40", "--judge.backoff", "0", "--judge.no-cache"]
        with pytest.raises(SystemExit) as ended:
            run([str(word) for word in ("mt-bench", model, "-o", tmp_path / output, *flags, *words)])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def test_answers_first_then_a_table_that_fits_80_columns(bench, tmp_path):
    code, out, _ = bench("first")
    assert code == 0
    assert "80 questions answered" in out
    with judge_stub(lambda asked, before: says(f"[[{1 + before % 10}]]")) as stub:
        judge = ("--judge-url", stub.url, "--judge-model", "a/judge [bold]of[/bold] long name " + "x" * 90)
        bench("second")
        code, out, _ = bench("second", *judge, "--compare", tmp_path / "first")
        assert code == 0
        assert max(len(line) for line in out.splitlines()) <= 80
        for word in ("baseline", "rating", "delta", "writing", "turn 2", "reference_answer_gpt-4.jsonl", "[bold]"):
            assert word in out
        calls = stub.calls
        code, out, _ = bench("second", *judge, "--compare", tmp_path / "first", "--format", "json", "-q")
        assert stub.calls == calls
    assert json.loads(out) == json.loads((tmp_path / "second" / "single" / "result.json").read_text())


def test_a_withheld_mean_is_exit_code_1(bench):
    with judge_stub(says("no idea")) as stub:
        code, out, _ = bench("out", "--judge-url", stub.url, "--judge-model", "stub")
    assert code == 1
    assert "no mean is given" in out and "160 no verdict" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_no_judge_there_is_exit_code_2_and_a_stable_error_code(bench):
    with judge_stub(says("")) as stub:
        url = stub.url
    code, out, err = bench("out", "--judge-url", url, "--judge-model", "stub", "--format", "json", "-q")
    assert (code, out) == (2, "")
    assert json.loads(err.strip().splitlines()[-1])["error_code"] == "judge_unavailable"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--judge-ulr", "x"], "judge-url"),
        (["--judge-url", "http://127.0.0.1:1/v1"], "belong together"),
        (["--judge-url", "http://10.0.0.1/v1", "--judge-model", "j"], "--allow-remote-http"),
        (["--mode", "triple"], "triple"),
        (["--limit", "11"], "10"),
        (["--judge.temperature", "3"], "2"),
        (["--data", "nowhere"], "nowhere"),
        (["--references", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_bad_calls_are_exit_code_4_and_leave_nothing(bench, tmp_path, words, text):
    code, out, err = bench("out", *words)
    assert (code, out) == (4, "")
    assert text in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
