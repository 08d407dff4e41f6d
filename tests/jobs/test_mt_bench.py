"""The whole job against a judge on loopback: scores, failures, resuming."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from judge_stub import Canned, judge_stub, says
from mt_bench_case import JUDGE, OPTIONS, SEVEN, judged, lines
from untrigger.errors import Interrupted
from untrigger.evaluation.mt_bench.client import JudgeUnavailable
from untrigger.jobs.mt_bench import mt_bench
from untrigger.observer import Silent
from untrigger.report.mt_bench import MtBenchResult


def test_160_judgements_make_a_score_and_the_same_command_asks_nothing(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        result = judged(request)
        assert stub.calls == len(lines(request.output)) == 160
        assert judged(request) == result
        assert stub.calls == 160
    assert result.published
    assert result.scores.overall.model_dump() == {"rows": 160, "failed": 0, "value": 7.0, "low": 7.0, "high": 7.0}
    assert {name: mean.rows for name, mean in result.scores.categories.items()} == Counter(
        {name: 20 for name in result.scores.categories}
    )
    assert len(result.scores.categories) == 8
    assert (result.judge.name, result.judge.answered_as) == ("stub", ("stub-1",))
    assert result.judge.base_url_host.startswith("127.0.0.1:")
    assert (result.references.name, len(result.references.sha256)) == ("reference_answer_gpt-4.jsonl", 64)
    written = (request.output / "single" / "result.json").read_text()
    assert MtBenchResult.model_validate_json(written) == result
    assert json.loads(written)["schema_version"] == 1
    row = lines(request.output)[0]
    assert {"question_id", "turn", "judge", "prompt", "user_prompt", "judgement", "score", "tstamp"} <= set(row)


def test_the_judge_is_asked_for_each_turn_of_each_question_by_the_right_prompt(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        judged(request)
    counts = Counter(row["prompt"] for row in lines(request.output))
    assert counts == {
        "single-v1": 50,
        "single-v1-multi-turn": 50,
        "single-math-v1": 30,
        "single-math-v1-multi-turn": 30,
    }
    assert len({(row["question_id"], row["turn"]) for row in lines(request.output)}) == 160
    assert {body["model"] for body in stub.bodies} == {"stub"}


def test_another_parser_reads_the_kept_judgements_anew(request_to):
    with judge_stub(says("x[0] is wrong.\nI give no number")) as stub:
        request = request_to(stub.url)
        strict = judged(request)
        fastchat = judged(replace(request, parser="fastchat"))
        assert stub.calls == 160
    assert not strict.published
    assert strict.failures == {"no verdict": 160}
    assert strict.scores.overall.value is None
    assert fastchat.scores.overall.value == 0.0


def test_no_mean_when_too_many_judgements_have_no_rating(request_to):
    with judge_stub(lambda asked, before: says("no idea") if before < 9 else SEVEN) as stub:
        result = judged(request_to(stub.url))
    assert result.scores.overall.failed == 9
    assert not result.published
    text = result.to_json()
    assert '"value": 7.0' not in text


def test_a_killed_run_goes_on_without_a_repeated_call(trials, request_to):
    """The process is killed with the 25th request under way: that one is asked again, no other."""
    begun: list[int] = []
    ended = threading.Event()

    def reply(asked: dict, before: int) -> Canned:
        if before == 24:
            os.kill(begun[0], signal.SIGKILL)
            ended.wait(60)
            return Canned(b"", drop=True)
        return SEVEN

    with judge_stub(reply) as stub:
        request = request_to(stub.url)
        words = ["mt-bench", request.model, "-o", str(request.output), "--data", str(request.data), "--judge-url"]
        words += [stub.url, "--judge-model", "stub", "--max-new-tokens", "2", "--batch-size", "20"]
        words += ["--judge.no-cache", "--judge.concurrency", "1"]
        begun.append(trials.begin(f"from untrigger.cli.main import run; run({words!r})", dict(os.environ)))
        killed = trials.end()
        ended.set()
        assert killed.code == -signal.SIGKILL, killed.err
        assert len(lines(request.output)) == 24
        with (request.output / "single" / "judgements.jsonl").open("ab") as file:
            file.write(b'{"question_id": 8')  # as if it had been killed while it wrote
        result = judged(request, OPTIONS)
        repeated = [count for count in Counter(map(json.dumps, stub.bodies)).values() if count > 1]
    assert result.published
    assert stub.calls == 161
    assert repeated == [2]
    assert len(lines(request.output)) == 160


class StopsAfter(Silent):
    def __init__(self, calls: int) -> None:
        self.calls, self.done = calls, 0

    def prompts(self, label: str, done: int, total: int) -> None:
        self.done = done

    def stop(self) -> bool:
        return self.done >= self.calls


def test_an_interrupted_run_keeps_what_was_under_way(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        with pytest.raises(Interrupted, match="same command"):
            mt_bench(request, OPTIONS, StopsAfter(10))
        assert 10 <= len(lines(request.output)) == stub.calls < 20
        judged(request)
        assert stub.calls == 160


def test_a_wish_to_stop_ends_a_long_wait(request_to):
    with judge_stub(Canned(b"", 429, {"retry-after": "600"})) as stub:
        request = request_to(stub.url)

        class Soon(Silent):
            def stop(self) -> bool:
                return stub.calls >= 4

        began = time.monotonic()
        with pytest.raises(Interrupted):
            mt_bench(request, OPTIONS, Soon())
        assert time.monotonic() - began < 60


def test_nobody_there_is_a_named_error_with_finished_work_kept(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        with pytest.raises(Interrupted):
            mt_bench(request, OPTIONS, StopsAfter(10))
        kept = len(lines(request.output))
        port = int(stub.url.split(":")[2].split("/")[0])
    with pytest.raises(JudgeUnavailable, match="no judge answers at 127") as caught:
        judged(request)
    assert caught.value.exit_code == 2
    assert len(lines(request.output)) == kept
    with socket.socket() as free:  # the port was closed with the stub
        assert free.connect_ex(("127.0.0.1", port)) != 0


def test_a_judge_that_fails_for_ever_ends_the_run_soon(request_to):
    with judge_stub(Canned(b"", 500)) as stub:
        request = request_to(stub.url)
        with pytest.raises(JudgeUnavailable, match=r"in a row failed.*status 500"):
            judged(request)
        assert stub.calls <= 2 * (3 + 2 * JUDGE.concurrency)
        assert all(row["judgement"] is None and "status 500" in row["error"] for row in lines(request.output))
        stub.reply = lambda asked, before: SEVEN
        assert judged(request).published


def test_single_failed_calls_are_counted_and_asked_again_by_the_next_run(request_to):
    def reply(asked: dict, before: int) -> Canned:
        return Canned(b"flagged", 400) if "thing 3 of" in asked["messages"][1]["content"] else SEVEN

    options = OPTIONS.model_copy(update={"judge": JUDGE.model_copy(update={"concurrency": 1})})
    with judge_stub(reply) as stub:
        request = request_to(stub.url)
        result = judged(request, options)
        assert (result.failures, result.published) == ({"call failed": 16}, False)
        assert stub.calls == 160
        stub.reply = lambda asked, before: SEVEN
        assert judged(request, options).published
        assert stub.calls == 176
    assert len(lines(request.output)) == 176


def test_replies_are_taken_from_the_cache_if_asked(request_to):
    options = OPTIONS.model_copy(update={"judge": JUDGE.model_copy(update={"cache": True})})
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        first = judged(request, options)
        for file in (request.output / "single").iterdir():
            file.unlink()
        again = judged(request, options)
        assert stub.calls == 160
        assert again.scores == first.scores
        assert again.judge.last == first.judge.last
        assert all(row["cached"] for row in lines(request.output))
