"""What a child process may do that is given hostile input; quick to import, since every child does so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from untrigger.errors import InputRefused

Json = dict[str, object]


def double(order: Json) -> Json:
    """Answers, and tells what the child knows."""
    return {"number": int(str(order["number"])) * 2, "token": os.environ.get("HF_TOKEN"), "pid": os.getpid()}


def chatter(_: Json) -> Json:
    """Prints before it answers."""
    sys.stdout.write("noise\n")
    sys.stdout.flush()
    os.write(1, b"more noise")
    return {"heard": "only this"}


def hoard(_: Json) -> Json:
    """Takes a hundred gigabytes."""
    return {"held": len([bytearray(2**20) for _ in range(100_000)])}


def swell(_: Json) -> Json:
    """Takes a gigabyte at once."""
    return {"length": len(bytearray(2**30))}


def kill_itself(_: Json) -> Json:
    """As the system does that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def crash(_: Json) -> Json:
    """As a broken library does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def leave(_: Json) -> Json:
    """Ends without an answer."""
    os._exit(7)


def fail(_: Json) -> Json:
    """Raises an error of Python's."""
    raise KeyError("within")


def refuse(_: Json) -> Json:
    """Raises an error of ours."""
    raise InputRefused("a fault", why="its reason")


def sleep(_: Json) -> Json:
    """Hangs without using the processor."""
    time.sleep(600)
    return {}


def spin(_: Json) -> Json:
    """Hangs and uses the processor."""
    while True:
        pass


def connect(_: Json) -> Json:
    """Reaches for the network."""
    socket.create_connection(("127.0.0.1", 9))
    return {}


def start(_: Json) -> Json:
    """Starts a program."""
    subprocess.run(["true"], check=False)
    return {}


def write(order: Json) -> Json:
    """Writes a file."""
    Path(str(order["path"])).write_text("x")
    return {}


def vanish_once(order: Json) -> Json:
    """Is killed or hangs unless a file says that this happened before."""
    before = Path(str(order["before"]))
    if before.exists():
        return {"done": True}
    before.touch()
    return kill_itself(order) if order["how"] == "killed" else sleep(order)
