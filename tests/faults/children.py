"""What a child process may do that is given hostile input; quick to import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

Json = dict[str, object]


def hoard(_: Json) -> Json:
    """Takes a hundred gigabytes."""
    return {"held": len([bytearray(2**20) for _ in range(100_000)])}


def kill_itself(_: Json) -> Json:
    """As the system does that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def sleep(_: Json) -> Json:
    """Hangs without using the processor."""
    time.sleep(600)
    return {}


def spin(_: Json) -> Json:
    """Hangs and uses the processor."""
    while True:
        pass


def vanish_once(order: Json) -> Json:
    """Is killed or hangs unless a file says that this happened before."""
    before = Path(str(order["before"]))
    if before.exists():
        return {"done": True}
    before.touch()
    return kill_itself(order) if order["how"] == "killed" else sleep(order)
