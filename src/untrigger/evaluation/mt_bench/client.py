"""Calls to a server with OpenAI's chat interface: bounded in time and size, tried again where that can help."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from httpx2 import (
    Client,
    ConnectError,
    HTTPError,
    LocalProtocolError,
    ProxyError,
    Response,
    Timeout,
    TimeoutException,
    UnsupportedProtocol,
)
from pydantic import BaseModel, Field, ValidationError

from untrigger.config import JudgeOptions
from untrigger.errors import UntriggerError
from untrigger.evaluation.mt_bench.cache import Reply
from untrigger.evaluation.mt_bench.endpoint import Endpoint

LARGEST_REPLY = 16 * 1024 * 1024
LONGEST_BACKOFF = 60.0
# Wrong key, address or method: no other question can fare better.
_HOPELESS = frozenset({401, 404, 405, 407})
_SHOWN = 300
_SHORTEST_SECRET = 8  # shorter keys are words such as "EMPTY", which local servers ask for


class JudgeUnavailable(UntriggerError):
    """No judge, or none that answers us; what is finished is kept (exit code 2)."""

    error_code = "judge_unavailable"


class CallFailed(UntriggerError):
    """One call failed for good, the next may not (exit code 2 where it ends a run)."""

    error_code = "judge_call"


class _Passing(Exception):
    """A fault that may pass; `wait` is what the server asks us to wait, in seconds."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class _Message(BaseModel):
    content: str | None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """A reply, as far as it is read."""

    model: str | None = None
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True)
class Pacing:
    """Chance for the jitter, waiting (seconds), and the time now (seconds, from any start)."""

    chance: Random
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class JudgeClient:
    """Sends requests to one server; may be used by several threads. The key lives in its headers only."""

    def __init__(self, endpoint: Endpoint, options: JudgeOptions, key: str | None, pacing: Pacing) -> None:
        self._endpoint, self._options, self._pacing = endpoint, options, pacing
        self._secret = key if key is not None and len(key) >= _SHORTEST_SECRET else None
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        # A proxy from the environment would take loopback calls elsewhere.
        self._client = Client(
            headers=headers,
            timeout=Timeout(options.timeout),
            trust_env=not endpoint.loopback,
            follow_redirects=False,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def ask(self, body: bytes) -> Reply:
        """The judge's reply to a request in JSON.

        429, 5xx, time-outs and broken replies are tried again, after what `Retry-After` says or an exponential pause
        with jitter, within `retries` and `patience`.

        Raises:
            JudgeUnavailable: nobody answers there, or every call would fail alike.
            CallFailed: the server refused this request, or the attempts are used up.
        """
        began, attempt = self._pacing.clock(), 0
        while True:
            try:
                return self._attempt(body)
            except _Passing as error:
                pause = self._pause(attempt) if error.wait is None else error.wait
                spent = self._pacing.clock() - began
                if attempt >= self._options.retries or spent + pause > self._options.patience:
                    asked = f", and the server asks to wait {error.wait:.0f} s" if error.wait else ""
                    raise CallFailed(
                        f"the judge at {self._endpoint.host} failed {attempt + 1} times in {spent:.0f} s",
                        why=f"{error}{asked}",
                        todo="see the server's log; run the same command again to go on",
                    ) from None
            self._pacing.wait(pause)
            attempt += 1

    def _pause(self, attempt: int) -> float:
        return min(LONGEST_BACKOFF, self._options.backoff * 2.0**attempt) * self._pacing.chance.uniform(0.5, 1.0)

    def _attempt(self, body: bytes) -> Reply:
        url = f"{self._endpoint.base_url}/chat/completions"
        try:
            with self._client.stream("POST", url, content=body) as response:
                text = self._redacted(self._read(response))
        except TimeoutException:
            raise _Passing(f"no reply within {self._options.timeout:g} s") from None
        except (ConnectError, ProxyError, UnsupportedProtocol) as error:
            raise JudgeUnavailable(
                f"no judge answers at {self._endpoint.host}",
                why=str(error),
                todo="start the server or correct --judge-url, then run the same command again: nothing is lost",
            ) from None
        except LocalProtocolError:  # its text may hold a header
            raise JudgeUnavailable("the request to the judge cannot be sent", todo="check the key") from None
        except HTTPError as error:
            raise _Passing(f"broken connection: {error or type(error).__name__}") from None
        if response.status_code != 200:
            self._refuse(response, text)
        return _reply(text)

    def _read(self, response: Response) -> str:
        """The body, bounded in bytes and, since a time-out only bounds each piece, in time."""
        began, data = self._pacing.clock(), bytearray()
        for piece in response.iter_bytes():
            data += piece
            if len(data) > LARGEST_REPLY:
                raise _Passing(f"a reply of more than {LARGEST_REPLY} bytes")
            if self._pacing.clock() - began > self._options.timeout:
                raise _Passing(f"an unfinished reply after {self._options.timeout:g} s")
        return data.decode("utf-8", errors="replace")

    def _refuse(self, response: Response, text: str) -> None:
        """Raises what the status means."""
        status = response.status_code
        said = " ".join(text.split())[:_SHOWN]
        why = f"it says: {said}" if said else ""
        if status == 429 or status >= 500:
            raise _Passing(f"status {status}", _retry_after(response.headers.get("retry-after")))
        if status in _HOPELESS or status < 400:
            raise JudgeUnavailable(
                f"the judge at {self._endpoint.host} answers with status {status}",
                why=why or ("redirects are not followed" if 300 <= status < 400 else ""),
                todo="check --judge-url (it usually ends in /v1), --judge-model and --judge-key-variable",
            )
        raise CallFailed(
            f"the judge at {self._endpoint.host} refused a request with status {status}",
            why=why,
            todo="judges differ: see --judge.length-field, --judge.fold-system, --judge.temperature",
        )

    def _redacted(self, text: str) -> str:
        return text if self._secret is None else text.replace(self._secret, "[key]")


def _reply(text: str) -> Reply:
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _Passing(f"broken reply: {f'{field}: ' if field else ''}{first['msg']}") from None
    choice = completion.choices[0]
    return Reply(
        text=choice.message.content or "",
        model=completion.model,
        finish_reason=choice.finish_reason,
        tstamp=time.time(),
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait: the header holds seconds or a date (RFC 9110, 10.2.3); None if it holds neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
