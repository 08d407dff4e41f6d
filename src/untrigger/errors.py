"""The kinds of failure a user can meet; each maps to one exit code and says what, why and what to do."""

from __future__ import annotations


class UntriggerError(Exception):
    """A failure: I/O, memory, network (exit code 2).

    Args:
        what: what went wrong and where (file, field, line).
        why: the reason, when it is not plain from `what`.
        todo: what the user can do about it.
    """

    exit_code = 2
    error_code = "failure"

    def __init__(self, what: str, *, why: str = "", todo: str = "") -> None:
        self.what = what
        self.why = why
        self.todo = todo
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line, without control characters (names may come from hostile files)."""
        parts = [self.what, f"({self.why})" if self.why else "", f"-> {self.todo}" if self.todo else ""]
        text = " ".join(part for part in parts if part)
        return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


class InputRefused(UntriggerError):
    """An input that is unsafe, broken or unsupported (exit code 3)."""

    exit_code = 3
    error_code = "input_refused"


class UsageError(UntriggerError):
    """A wrong option, configuration or data file (exit code 4)."""

    exit_code = 4
    error_code = "usage"


class OutOfMemory(UntriggerError):
    """Not enough memory even at the smallest batch (exit code 2)."""

    error_code = "out_of_memory"


class Diverged(UntriggerError):
    """A training whose loss or gradient became NaN or infinite (exit code 2)."""

    error_code = "diverged"


class Interrupted(UntriggerError):
    """Stopped by a signal at a point from which the same command resumes (exit code 130)."""

    exit_code = 130
    error_code = "interrupted"
