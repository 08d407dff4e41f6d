"""The whole job against a judge on loopback: resuming, refusing, comparing."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from judge_stub import Canned, judge_stub, read_jsonl, says, write_bench
from tiny import save_tiny
from untrigger.config import JudgeOptions, MtBenchOptions
from untrigger.errors import Interrupted, UntriggerError, UsageError
from untrigger.evaluation.mt_bench.client import JudgeUnavailable
from untrigger.jobs.mt_bench import MtBenchRequest, mt_bench
from untrigger.observer import Silent
from untrigger.report.mt_bench import AnsweredResult, MtBenchResult

JUDGE = JudgeOptions(backoff=0, retries=1, cache=False)
OPTIONS = MtBenchOptions(max_new_tokens=2, batch_size=20, judge=JUDGE)
SEVEN = says("Rating: [[7]]")
KEY = "sk-0123456789abcdef"


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


def judged(request: MtBenchRequest, options: MtBenchOptions = OPTIONS, **more) -> MtBenchResult:
    result = mt_bench(request, options, **more)
    assert isinstance(result, MtBenchResult)
    return result


def lines(folder: Path, mode: str = "single") -> list[dict]:
    return read_jsonl(folder / mode / "judgements.jsonl")


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


def test_a_baseline_is_judged_in_the_same_run(request_to, tmp_path):
    theirs = {line["choices"][0]["turns"][0] for line in read_jsonl(tmp_path / "theirs.out" / "answers.jsonl")}
    ours = {line["choices"][0]["turns"][0] for line in read_jsonl(tmp_path / "ours.out" / "answers.jsonl")}

    def reply(asked: dict, before: int) -> Canned:
        text = asked["messages"][1]["content"]
        answer = text.split("<answer>")[-1].split("</answer>")[0].split("<answer_1>")[-1].split("</answer_1>")[0]
        return says("[[8]]" if answer in ours - theirs else "[[6]]")

    with judge_stub(reply) as stub:
        request = request_to(stub.url, compare=tmp_path / "theirs.out")
        result = judged(request)
        assert 160 < stub.calls <= 320
        assert judged(request) == result
    assert result.baseline_scores.overall.value == 6.0
    assert result.delta.overall.value == pytest.approx(result.scores.overall.value - 6.0)
    assert result.delta.overall.value > 1
    assert result.baseline.sha256 != result.answers.sha256
    models = [row["model"].rsplit("/", 1)[-1] for row in lines(request.output)[:40]]
    assert {"ours", "theirs"} == set(models)


def test_pairs_are_judged_twice_and_position_alone_wins_nothing(request_to, tmp_path):
    with judge_stub(says("[[A]]")) as stub:
        request = request_to(stub.url, compare=tmp_path / "theirs.out", mode="pairwise")
        result = judged(request)
        assert 160 < stub.calls <= 320
        prompts = Counter(row["prompt"] for row in lines(request.output, "pairwise"))
    found = result.comparison
    assert (found.wins, found.losses, found.ties, found.split) == (0, 0, 160, 160)
    assert found.net.overall.value == 0.0
    assert set(prompts) == {"pair-v2", "pair-v2-multi-turn", "pair-math-v1", "pair-math-v1-multi-turn"}
    assert result.scores is None


def test_single_and_pairwise_judgements_live_side_by_side(request_to, tmp_path):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        judged(request)
        stub.reply = lambda asked, before: says("[[C]]")
        judged(replace(request, mode="pairwise", compare=tmp_path / "theirs.out"))
        calls = stub.calls
        judged(request)
        assert stub.calls == calls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge_model": "other"}, 'judge: "stub" then, "other" now'),
        ({"references": Path("reference_answer_other.jsonl")}, "references: "),
        ({"template": "alpaca"}, 'template: "chat" then, "alpaca" now'),
        ({"device": "cpu"}, "device: "),
        ({"model": "theirs"}, r"model\."),
    ],
)
def test_another_run_in_the_same_folder_is_refused(request_to, answered, change, message):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        judged(request)
        if "model" in change:
            change = {"model": str(answered / "theirs")}
        with pytest.raises(UsageError, match=message) as caught:
            judged(replace(request, **change))
        assert "--output" in caught.value.line()
        assert stub.calls == 160


def test_other_parameters_of_the_judge_are_refused_but_not_other_pacing(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        judged(request)
        for field, value in (("temperature", 0.5), ("max_tokens", 9), ("fold_system", True)):
            other = OPTIONS.model_copy(update={"judge": JUDGE.model_copy(update={field: value})})
            with pytest.raises(UsageError, match=rf"parameters\.{field}"):
                judged(request, other)
        judged(request, OPTIONS.model_copy(update={"judge": JudgeOptions(concurrency=9, cache=False)}))
        assert stub.calls == 160


def test_answers_under_other_settings_are_no_baseline(request_to, tmp_path):
    other = tmp_path / "theirs.out"
    identity = json.loads((other / "run.json").read_text())
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url, compare=other)
        (other / "run.json").write_text(json.dumps(identity | {"template": "alpaca"}))
        with pytest.raises(UsageError, match="different: template"):
            judged(request)
        (other / "run.json").write_text(json.dumps(identity))
        whole = (other / "answers.jsonl").read_bytes()
        (other / "answers.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
        with pytest.raises(UsageError, match="lacks 1 of 80 answers"):
            judged(request)
        (other / "answers.jsonl").write_bytes(whole)
        environment = json.loads((other / "environment.json").read_text())
        (other / "environment.json").write_text(json.dumps(environment | {"dtype": "torch.bfloat16"}))
        with pytest.raises(UsageError, match="bfloat16"):
            judged(request)
        with pytest.raises(UsageError, match="holds no answers"):
            judged(replace(request, compare=tmp_path / "nothing"))
        assert stub.calls == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge_model": None}, "belong together"),
        ({"mode": "pairwise"}, "--compare"),
        ({"judge_url": None, "judge_model": None, "compare": Path("x")}, "needs a judge"),
        ({"judge_url": "http://example.org/v1"}, "--allow-remote-http"),
        ({"judge_key_variable": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
        ({"data": None}, "UNTRIGGER_DATA"),
    ],
)
def test_senseless_requests_are_refused_before_any_work(request_to, change, message):
    request = replace(request_to("http://127.0.0.1:9/v1"), **change)
    with pytest.raises(UsageError, match=message):
        mt_bench(replace(request, model="nowhere"), OPTIONS, environment={})


def test_the_same_folder_is_no_baseline(request_to):
    request = request_to("http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="same folder"):
        mt_bench(replace(request, compare=request.output / "." / ""), OPTIONS)


def test_the_key_reaches_the_judge_and_no_file(request_to, tmp_path):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url, judge_key_variable="JUDGE_KEY")
        options = OPTIONS.model_copy(update={"judge": JUDGE.model_copy(update={"cache": True})})
        judged(request, options, environment={"JUDGE_KEY": KEY})
        assert stub.headers[0]["authorization"] == f"Bearer {KEY}"
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 160
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_a_trial_with_few_questions_says_so(answered, tmp_path):
    options = OPTIONS.model_copy(update={"limit": 1})
    with judge_stub(SEVEN) as stub:
        request = MtBenchRequest(
            str(answered / "ours"), tmp_path / "out", data=answered / "data", judge_url=stub.url, judge_model="stub"
        )
        result = judged(request, options)
        assert stub.calls == 16
    assert result.subset == 1
    assert result.answers.questions == 8


def test_answers_are_not_continued_in_another_environment(request_to):
    request = request_to(None)
    file = request.output / "answers.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    environment = json.loads((request.output / "environment.json").read_text())
    (request.output / "environment.json").write_text(json.dumps(environment | {"python": "2.7"}))
    with pytest.raises(UsageError, match="different: python"):
        mt_bench(request, OPTIONS)
    (request.output / "environment.json").write_text(json.dumps(environment))
    assert mt_bench(request, OPTIONS).questions == 80
    assert len(read_jsonl(file)) == 80


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(request_to):
    with judge_stub(SEVEN) as stub:
        request = request_to(stub.url)
        request.output.chmod(0o500)
        try:
            with pytest.raises(UntriggerError, match="cannot write"):
                judged(request)
        finally:
            request.output.chmod(0o700)
