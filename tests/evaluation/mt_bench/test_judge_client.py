from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest

from judge_stub import Canned, judge_stub, says
from untrigger.config import JudgeOptions
from untrigger.evaluation.mt_bench.client import CallFailed, JudgeClient, JudgeUnavailable, Pacing
from untrigger.evaluation.mt_bench.endpoint import endpoint

GOOD = says("Rating: [[7]]")
KEY = "sk-0123456789abcdef"


class Clock:
    """Time that passes only by waiting."""

    def __init__(self):
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)

    def now(self):
        return sum(self.waits)


def ask(reply, clock=None, key=None, **options):
    clock = clock or Clock()
    with judge_stub(reply) as stub:
        pacing = Pacing(Random(0), wait=clock.wait, clock=clock.now)
        client = JudgeClient(endpoint(stub.url), JudgeOptions(**options), key, pacing)
        try:
            return client.ask(b'{"n": 1}'), stub
        finally:
            client.close()


def first_then_good(*canned):
    return lambda asked, before: canned[before] if before < len(canned) else GOOD


def test_a_call_posts_the_body_with_the_key_and_reads_the_reply():
    reply, stub = ask(GOOD, key=KEY)
    assert (reply.text, reply.model, reply.finish_reason) == ("Rating: [[7]]", "stub-1", "stop")
    assert stub.paths == ["/v1/chat/completions"]
    assert stub.headers[0]["authorization"] == f"Bearer {KEY}"
    assert stub.bodies == [{"n": 1}]
    _, without = ask(GOOD)
    assert "authorization" not in without.headers[0]


def test_retry_after_is_honoured():
    clock = Clock()
    reply, stub = ask(first_then_good(Canned(b"", 429, {"retry-after": "17"})), clock)
    assert reply.text == "Rating: [[7]]"
    assert clock.waits == [17.0]
    assert stub.calls == 2


def test_retry_after_may_be_a_date():
    clock = Clock()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    ask(first_then_good(Canned(b"", 503, {"retry-after": date})), clock)
    assert 25 < clock.waits[0] <= 30


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "Mon, 99 Foo"])
def test_a_senseless_retry_after_leaves_the_own_pause(header):
    clock = Clock()
    ask(first_then_good(Canned(b"", 429, {"retry-after": header})), clock)
    assert 0.5 <= clock.waits[0] <= 1


@pytest.mark.parametrize(
    "fault",
    [
        Canned(b"oops", 500),
        Canned(b"", 503),
        Canned(b"{'not': json"),
        Canned(b"[]"),
        Canned(b'{"choices": []}'),
        Canned(b'{"choices": [{"message": {}}]}'),
        Canned(b'{"choices": [{"message": {"content": ["part"]}}]}'),
        Canned(b"\xff\xfe"),
        Canned(GOOD.body, cut=True),
        Canned(b"", drop=True),
    ],
)
def test_faults_that_may_pass_are_tried_again(fault):
    clock = Clock()
    reply, stub = ask(first_then_good(fault, fault), clock)
    assert reply.text == "Rating: [[7]]"
    assert stub.calls == 3
    assert 0.5 <= clock.waits[0] <= 1 <= clock.waits[1] <= 2


def test_a_time_out_is_tried_again():
    reply, stub = ask(first_then_good(says("late", delay=0.5)), timeout=0.1)
    assert reply.text == "Rating: [[7]]"
    assert stub.calls == 2


def test_attempts_are_bounded_in_number_and_pauses_grow():
    clock = Clock()
    with pytest.raises(CallFailed, match=r"failed 4 times.*status 500"):
        ask(Canned(b"", 500), clock, retries=3)
    assert len(clock.waits) == 3
    assert clock.waits == sorted(clock.waits)


def test_attempts_are_bounded_in_time():
    clock = Clock()
    with pytest.raises(CallFailed, match="asks to wait 3600 s"):
        ask(Canned(b"", 429, {"retry-after": "3600"}), clock, patience=60)
    assert clock.waits == []


def test_an_empty_judgement_is_a_reply():
    assert ask(says(None))[0].text == ""


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_other_refusals_are_not_tried_again(status):
    clock = Clock()
    with pytest.raises(CallFailed, match=f"status {status}.*too long"):
        ask(Canned(b'{"error": "too long"}', status), clock)
    assert clock.waits == []


@pytest.mark.parametrize("status", [401, 404, 301])
def test_what_no_other_call_can_better_ends_the_run(status):
    with pytest.raises(JudgeUnavailable, match=f"status {status}"):
        ask(Canned(b"no", status, {"location": "http://127.0.0.1:9/"}))


def test_nobody_there_is_a_named_error_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        clock = Clock()
        client = JudgeClient(endpoint(url), JudgeOptions(), None, Pacing(Random(0), wait=clock.wait))
        with pytest.raises(JudgeUnavailable, match=r"no judge answers at 127\.0\.0\.1") as caught:
            client.ask(b"{}")
        client.close()
    assert (caught.value.exit_code, caught.value.error_code) == (2, "judge_unavailable")
    assert clock.waits == []


def test_a_key_that_a_server_repeats_is_taken_out():
    for echo in (Canned(f"wrong key {KEY}".encode(), 401), Canned(f"wrong key {KEY}".encode(), 400)):
        with pytest.raises((JudgeUnavailable, CallFailed)) as caught:
            ask(echo, key=KEY)
        assert KEY not in caught.value.line() and "[key]" in caught.value.line()
    assert KEY not in ask(says(f"your key is {KEY}"), key=KEY)[0].text


def test_a_proxy_of_the_environment_is_not_used_on_loopback(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(GOOD)[0].text == "Rating: [[7]]"


def test_text_that_is_no_unicode_is_a_broken_reply():
    with pytest.raises(CallFailed, match="broken reply"):
        ask(Canned(b'{"choices": [{"message": {"content": "half \\ud800 [[7]]"}}]}'), retries=0)
