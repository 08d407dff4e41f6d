from __future__ import annotations

import pytest

from untrigger.errors import UsageError
from untrigger.evaluation.mt_bench.endpoint import Endpoint, endpoint, judge_key


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:8000/v1", Endpoint("http://127.0.0.1:8000/v1", "127.0.0.1:8000", True)),
        ("http://127.9.9.9/v1/", Endpoint("http://127.9.9.9/v1", "127.9.9.9", True)),
        ("http://localhost:8000/v1", Endpoint("http://localhost:8000/v1", "localhost:8000", True)),
        ("http://[::1]:8000/v1", Endpoint("http://[::1]:8000/v1", "[::1]:8000", True)),
        ("https://api.example.org/v1", Endpoint("https://api.example.org/v1", "api.example.org", False)),
        ("https://api.example.org", Endpoint("https://api.example.org", "api.example.org", False)),
    ],
)
def test_addresses(url, found):
    assert endpoint(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.org/v1",
        "http://192.168.0.7:8000/v1",
        "http://localhost.example.org/v1",
        "http://127.0.0.1.example.org/v1",
        "http://0.0.0.0:8000/v1",
    ],
)
def test_plain_http_stays_on_this_machine_unless_forced(url):
    with pytest.raises(UsageError, match="--allow-remote-http"):
        endpoint(url)
    assert not endpoint(url, allow_remote_http=True).loopback


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/v1", "no http or https"),
        ("127.0.0.1:8000/v1", "no http or https|no address"),
        ("http://", "no http or https|no address"),
        ("http://127.0.0.1:port/v1", "no address"),
        ("https://user:hunter2@api.example.org/v1", "a user, a query"),
        ("https://api.example.org/v1?key=hunter2", "a user, a query"),
        ("https://api.example.org/v1/chat/completions", "leave /chat/completions out"),
    ],
)
def test_other_addresses_are_refused_without_their_secrets(url, message):
    with pytest.raises(UsageError, match=message) as caught:
        endpoint(url)
    assert "hunter2" not in caught.value.line()


def test_a_key_comes_from_its_variable_and_is_never_shown():
    assert judge_key(None, {"KEY": "x"}) is None
    assert judge_key("KEY", {"KEY": "abc-123\n"}) == "abc-123"
    with pytest.raises(UsageError, match="KEY is not set"):
        judge_key("KEY", {"KEY": " "})
    for wrong in ("hunter2 words", "hunter2\r\nx-other: 1", "húnter2"):
        with pytest.raises(UsageError) as caught:
            judge_key("KEY", {"KEY": wrong})
        assert "hunter2" not in caught.value.line() and "húnter2" not in caught.value.line()
