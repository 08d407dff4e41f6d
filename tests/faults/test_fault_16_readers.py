"""Fault 16: others read the output while it is published: they see the old state or the new one, never a mixture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from jobs_options import SMALL
from untrigger.checksums import changes
from untrigger.files import write_text_atomic
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.models.load import load


def watched(look: Callable[[], object], work: Callable[[], object]) -> list[object]:
    """What others saw again and again while the work was done."""
    seen: list[object] = []
    over = threading.Event()

    def reader() -> None:
        while not over.is_set():
            seen.append(look())
        seen.append(look())

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return seen


def test_fault_16_readers_of_a_model_see_all_of_it_or_nothing(tmp_path, suspect, records):
    output = tmp_path / "out"

    def look() -> object:
        if not output.exists():
            return "absent"
        names = {path.name for path in output.iterdir()}
        return changes(output) or None if {"model.safetensors", "config.json", "COMPLETE"} <= names else "half"

    seen = watched(look, lambda: purify(Request(str(suspect), output, data=records), SMALL))
    assert set(seen) == {"absent", None}
    load(str(output))


def test_fault_16_readers_of_a_text_see_the_old_or_the_new(tmp_path: Path):
    path = tmp_path / "result.json"
    states = [str(number) * 50_000 for number in range(2)]
    path.write_text(states[0])

    def work() -> None:
        for number in range(1, 60):
            write_text_atomic(path, states[number % 2])

    assert set(watched(path.read_text, work)) == set(states)
