"""Runs in the candidate's own process (`python -I -S -c`): the program, the test, then `check(entry point)`.

The answer goes over a channel. That of a passed check is a token which this process does not hold, but reads from the
channel when `check` has returned: neither an early exit nor printing makes a candidate pass. A program that looks for
the channel on purpose can still deceive it, as it shares the process (docs/reference/humaneval.md).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from types import CodeType, ModuleType

JOB, CHANNEL = 3, 4
TOKEN_BYTES = 64
MEMORY = b"memory "


def main() -> None:
    """Judges the job and ends the process at once, whatever threads and exit handlers the program left."""
    receive, send, leave = os.read, os.write, os._exit  # the program may replace them
    with open(JOB, "rb") as file:
        program, test, entry_point = json.loads(file.read())
    try:
        found = judged(program, test, entry_point)
    except MemoryError:
        found = MEMORY
    send(CHANNEL, receive(CHANNEL, TOKEN_BYTES) if found is None else found)
    leave(0)


def judged(program: str, test: str, entry_point: str) -> bytes | None:
    """None if the check returned, else what happened: an outcome's first word and a detail."""
    try:
        code = compiled(program, "program")
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        return f"syntax {type(error).__name__}".encode()
    module = ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses look their module up
    try:
        checked(code, compiled(test, "test"), module, entry_point)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - anything at all may come out of a hostile program, SystemExit too
        return f"failed {type(error).__name__}".encode("utf-8", "replace")[:200]
    return None


def compiled(source: str, name: str) -> CodeType:
    """Byte code of a module, without this file's own future imports."""
    return compile(source, name, "exec", dont_inherit=True)


def checked(program: CodeType, test: CodeType, module: ModuleType, entry_point: str) -> None:
    """Runs program and test as one module, then the test's `check` on the program's function."""
    names = module.__dict__
    exec(program, names)  # noqa: S102 - the purpose of this process
    exec(test, names)  # noqa: S102 - the purpose of this process
    check: Callable[[object], None] = names["check"]
    check(names[entry_point])


if __name__ == "__main__":
    main()
