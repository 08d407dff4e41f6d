"""An invented bench with two tiny models, as the tests of the whole job ask it."""

from __future__ import annotations

from pathlib import Path

from judge_stub import read_jsonl, says
from untrigger.config import JudgeOptions, MtBenchOptions
from untrigger.jobs.mt_bench import MtBenchRequest, mt_bench
from untrigger.report.mt_bench import MtBenchResult

JUDGE = JudgeOptions(backoff=0, retries=1, cache=False)
OPTIONS = MtBenchOptions(max_new_tokens=2, batch_size=20, judge=JUDGE)
SEVEN = says("Rating: [[7]]")
KEY = "sk-0123456789abcdef"


def judged(request: MtBenchRequest, options: MtBenchOptions = OPTIONS, **more) -> MtBenchResult:
    result = mt_bench(request, options, **more)
    assert isinstance(result, MtBenchResult)
    return result


def lines(folder: Path, mode: str = "single") -> list[dict]:
    return read_jsonl(folder / mode / "judgements.jsonl")
