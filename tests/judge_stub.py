"""A judge on loopback with canned replies, and an invented bench in the published format."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import loopback
from untrigger.evaluation.mt_bench.questions import PLACEHOLDERS, REFERENCED, TEMPERATURES


@dataclass(frozen=True)
class Canned:
    """What the stub sends; `cut` announces more bytes than come, `drop` says nothing at all, `delay` in seconds."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    drop: bool = False
    delay: float = 0.0


def says(text: str | None, **canned: object) -> Canned:
    """A well-formed reply with this text."""
    message = {"role": "assistant", "content": text}
    body = {"model": "stub-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Canned(json.dumps(body).encode(), **canned)


class Stub:
    """Counts what it is asked; `reply` is called with the request and how many came before it."""

    def __init__(self, reply: Callable[[dict, int], Canned]) -> None:
        self.reply = reply
        self.bodies: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""
        self._lock = threading.Lock()

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> Canned:
        asked = json.loads(body)
        with self._lock:
            before = len(self.bodies)
            self.bodies.append(asked)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self.paths.append(path)
        return self.reply(asked, before)

    @property
    def calls(self) -> int:
        return len(self.bodies)


@contextmanager
def judge_stub(reply: Callable[[dict, int], Canned] | Canned) -> Iterator[Stub]:
    """A running stub; `url` is what --judge-url takes."""
    stub = Stub(reply if callable(reply) else lambda asked, before: reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each reply waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            canned = stub.take(self.path, self.headers, body)
            time.sleep(canned.delay)
            if canned.drop:
                self.close_connection = True
                return
            try:
                self._send(canned)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send(self, canned: Canned) -> None:
            self.send_response(canned.status)
            self.send_header("content-length", str(len(canned.body) + 20 * canned.cut))
            for name, value in canned.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(canned.body)
            self.close_connection = canned.cut

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with loopback(Handler) as address:
        stub.url = f"{address}/v1"
        yield stub


def write_bench(data: Path) -> Path:
    """A data folder with 80 invented questions, judge prompts that name their places, and references."""
    folder = data / "benchmarks" / "mt_bench"
    folder.mkdir(parents=True)
    questions = [
        {
            "question_id": 81 + 10 * number + index,
            "category": category,
            "turns": [f"Name thing {index} of {category}.", "Name one more."],
        }
        for number, category in enumerate(TEMPERATURES)
        for index in range(10)
    ]
    prompts = [
        {
            "name": name,
            "type": "single" if name.startswith("single") else "pairwise",
            "system_prompt": f"You judge by {name}.\n\n",
            "prompt_template": "".join(f"<{place}>{{{place}}}</{place}>" for place in sorted(places)),
            "category": "any",
        }
        for name, places in PLACEHOLDERS.items()
    ]
    references = [
        {"question_id": q["question_id"], "choices": [{"index": 0, "turns": [f"R1 {q['question_id']}", "R2"]}]}
        for q in questions
        if q["category"] in REFERENCED
    ]
    write_jsonl(folder / "question.jsonl", questions)
    write_jsonl(folder / "judge_prompts.jsonl", prompts)
    write_jsonl(folder / "reference_answer_gpt-4.jsonl", references)
    write_jsonl(folder / "reference_answer_other.jsonl", list(reversed(references)))
    return data


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
