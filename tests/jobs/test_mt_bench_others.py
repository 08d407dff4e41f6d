"""Baselines and pairs, and requests that do not belong together, against a judge on loopback."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from judge_stub import Canned, judge_stub, read_jsonl, says
from mt_bench_case import JUDGE, KEY, OPTIONS, SEVEN, judged, lines
from untrigger.config import JudgeOptions
from untrigger.errors import UntriggerError, UsageError
from untrigger.jobs.mt_bench import MtBenchRequest, mt_bench


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
