"""Asks the judge what the journal does not hold yet, a few calls at once; each judgement is written as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from random import Random
from threading import Event

from untrigger.errors import Interrupted, UntriggerError
from untrigger.evaluation.mt_bench.cache import Reply, ReplyCache
from untrigger.evaluation.mt_bench.client import CallFailed, JudgeClient, JudgeUnavailable, Pacing
from untrigger.evaluation.mt_bench.endpoint import Endpoint
from untrigger.evaluation.mt_bench.journal import Journal, Line
from untrigger.evaluation.mt_bench.prompts import Ask, Call, Cell
from untrigger.observer import Observer

FAILURES_IN_A_ROW = 3
"""So many calls that fail one after another end the run: the judge is down, or refuses what we send."""
_LOOK_SECONDS = 0.2  # how often a wish to stop is looked for while calls are under way


class JudgementLine(Line):
    """One call. A failed one has an error and no judgement, and is asked again by the next run."""

    question_id: int
    turn: int
    judge: str
    prompt: str
    model: str
    user_prompt: str
    judgement: str | None
    score: float | str | None
    """What the judgement was read as when it came; results read it anew."""
    error: str | None
    request: str
    """SHA-256 of address and request."""
    answered_as: str | None
    """The model that the server says it used."""
    finish_reason: str | None
    cached: bool
    tstamp: float


@dataclass(frozen=True)
class Judge:
    """A judge ready to be asked; `read` turns a judgement into what is stored as its score."""

    call: Call
    endpoint: Endpoint
    cache: ReplyCache
    read: Callable[[str], float | str | None]
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Outcome:
    """What became of a call: a reply (perhaps a kept one) or an error."""

    reply: Reply | None = None
    cached: bool = False
    error: str | None = None


class _Stopped(Exception):
    """A call that was waiting for its next attempt when the run came to its end."""


def judgements(lines: Iterable[JudgementLine]) -> dict[str, JudgementLine]:
    """The line that counts for each request: the judgement if there is one, else the last failure."""
    found: dict[str, JudgementLine] = {}
    for line in lines:
        if line.request not in found or found[line.request].judgement is None:
            found[line.request] = line
    return found


def pending(cells: Sequence[Cell], call: Call, lines: Iterable[JudgementLine]) -> dict[str, Ask]:
    """What is still to be asked, by request, each once, in the order of the cells."""
    known = judgements(lines)
    asks = {call.request(ask): ask for cell in cells for ask in cell.asks}
    return {key: ask for key, ask in asks.items() if key not in known or known[key].judgement is None}


def ask_pending(judge: Judge, asks: Mapping[str, Ask], journal: Journal[JudgementLine], observer: Observer) -> None:
    """Asks the judge, `concurrency` calls at once, and adds each judgement or failure to the journal.

    Raises:
        JudgeUnavailable: nobody answers, every call would fail alike, or several in a row did.
        Interrupted: the observer asked to stop; calls under way were still waited for.
    """
    stop = Event()
    pacing = Pacing(Random(), wait=partial(_wait_unless, stop))
    client = JudgeClient(judge.endpoint, judge.call.options, judge.key, pacing)
    try:
        with ThreadPoolExecutor(judge.call.options.concurrency) as pool:
            try:
                _Round(judge, client, pool, journal, observer, stop).run(asks)
            finally:
                stop.set()
    finally:
        client.close()


class _Round:
    """The calls of one run: at most so many under way, results written by the one thread that runs this."""

    def __init__(
        self,
        judge: Judge,
        client: JudgeClient,
        pool: ThreadPoolExecutor,
        journal: Journal[JudgementLine],
        observer: Observer,
        stop: Event,
    ) -> None:
        self._judge, self._client, self._pool = judge, client, pool
        self._journal, self._observer, self._stop = journal, observer, stop
        self._running: dict[Future[_Outcome], tuple[str, Ask]] = {}
        self._fatal: UntriggerError | None = None
        self._failures = 0

    def run(self, asks: Mapping[str, Ask]) -> None:
        """Until all is done, or something ends it; what is under way then is still written."""
        queue, done = iter(asks.items()), 0
        while True:
            if self._fatal is not None or self._observer.stop():
                self._stop.set()
            else:
                for request, ask in islice(queue, self._judge.call.options.concurrency - len(self._running)):
                    self._running[self._pool.submit(self._asked, request, ask)] = (request, ask)
            if not self._running:
                break
            for future in wait(self._running, _LOOK_SECONDS, FIRST_COMPLETED).done:
                done += self._finish(future)
                self._observer.prompts("judgements", done, len(asks))
        if self._fatal is not None:
            raise self._fatal
        if done < len(asks):
            raise Interrupted(f"stopped after {done} of {len(asks)} calls", todo="run the same command again")

    def _asked(self, request: str, ask: Ask) -> _Outcome:
        """Runs in a thread of the pool."""
        kept = self._judge.cache.get(request)
        if kept is not None:
            return _Outcome(kept, cached=True)
        try:
            reply = self._client.ask(self._judge.call.body(ask))
        except CallFailed as error:
            return _Outcome(error=error.line())
        self._judge.cache.put(request, reply)
        return _Outcome(reply)

    def _finish(self, future: Future[_Outcome]) -> bool:
        """Whether the call came to an end, good or bad, that is now in the journal."""
        request, ask = self._running.pop(future)
        try:
            outcome = future.result()
        except _Stopped:
            return False
        except UntriggerError as error:
            self._fatal = self._fatal or error
            return False
        self._journal.append(_line(self._judge, request, ask, outcome))
        self._count(outcome)
        return True

    def _count(self, outcome: _Outcome) -> None:
        if outcome.error is None:
            self._failures = self._failures if outcome.cached else 0
            return
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW and self._fatal is None:
            self._fatal = JudgeUnavailable(
                f"{self._failures} calls of the judge in a row failed",
                why=outcome.error,
                todo="see to it, then run the same command again: nothing that is finished is asked again",
            )


def _line(judge: Judge, request: str, ask: Ask, outcome: _Outcome) -> JudgementLine:
    reply = outcome.reply
    return JudgementLine(
        question_id=ask.question_id,
        turn=ask.turn,
        judge=judge.call.model,
        prompt=ask.prompt,
        model=ask.model,
        user_prompt=ask.user,
        judgement=None if reply is None else reply.text,
        score=None if reply is None else judge.read(reply.text),
        error=outcome.error,
        request=request,
        answered_as=None if reply is None else reply.model,
        finish_reason=None if reply is None else reply.finish_reason,
        cached=outcome.cached,
        tstamp=time.time() if reply is None else reply.tstamp,
    )


def _wait_unless(stop: Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise _Stopped
