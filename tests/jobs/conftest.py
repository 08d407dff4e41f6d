"""What several tests of the jobs begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge_stub import write_bench
from mt_bench_case import OPTIONS
from tiny import save_tiny
from untrigger.jobs.mt_bench import MtBenchRequest, mt_bench
from untrigger.report.mt_bench import AnsweredResult


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an invented bench, two models and their answers."""
    root = tmp_path_factory.mktemp("bench")
    write_bench(root / "data")
    for name, seed in (("ours", 0), ("theirs", 1)):
        save_tiny(root / name, seed=seed)
        request = MtBenchRequest(str(root / name), root / f"{name}.out", data=root / "data")
        assert isinstance(mt_bench(request, OPTIONS), AnsweredResult)
    return root


@pytest.fixture
def request_to(answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a request over copies of the answers, so that each test has its own judgements."""
    monkeypatch.setenv("UNTRIGGER_CACHE", str(tmp_path / "cache"))
    for name in ("ours", "theirs"):
        output = tmp_path / f"{name}.out"
        output.mkdir()
        for file in ("run.json", "answers.jsonl", "environment.json"):
            (output / file).write_bytes((answered / f"{name}.out" / file).read_bytes())

    def make(url: str | None, **more: object) -> MtBenchRequest:
        model = str(answered / "ours")
        judge = {"judge_url": url, "judge_model": "stub"} if url else {}
        return MtBenchRequest(model, tmp_path / "ours.out", data=answered / "data", **judge, **more)

    return make
