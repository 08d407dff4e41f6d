"""Trials in a process of their own that may be killed, run out of memory or find a disk full."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ZYGOTE = Path(__file__).with_name("zygote.py")


@dataclass(frozen=True)
class Ended:
    """How a trial or a command ended; a negative code is the number of a signal."""

    code: int
    out: str
    err: str

    @property
    def failed(self) -> bool:
        """Whether it ended with an error as JSON, and wrote nothing else."""
        return self.code > 1 and not self.out

    @property
    def said(self) -> str:
        """The one line of a failure, else all that was written."""
        return self.error["message"] if self.failed else f"{self.out}\n{self.told}"

    @property
    def told(self) -> str:
        """Standard error without the line breaks of a narrow terminal."""
        return " ".join(self.err.split())

    @property
    def error(self) -> dict[str, str]:
        """The error of a command with `--format json`."""
        return json.loads(self.err.strip().splitlines()[-1])

    @property
    def result(self) -> dict:
        """What a command with `--format json` printed."""
        return json.loads(self.out)


@dataclass
class Trials:
    """Runs code in forks of one prepared process; `namespaces` says whether it may mount file systems."""

    process: subprocess.Popen[str]
    folder: Path
    namespaces: bool
    count: int = field(default=0)

    def begin(self, code: str, environment: Mapping[str, str] | None = None) -> int:
        """Starts a trial; returns its process number."""
        self.count += 1
        out, err = (str(self.folder / f"{self.count}.{name}") for name in ("out", "err"))
        self._write({"code": code, "environment": environment, "out": out, "err": err})
        return int(self._read()["pid"])

    def end(self) -> Ended:
        """Waits for the trial that was started last."""
        code = self._read()["code"]
        out, err = ((self.folder / f"{self.count}.{name}").read_text(errors="replace") for name in ("out", "err"))
        return Ended(code, out, err)

    def run(self, code: str, environment: Mapping[str, str] | None = None) -> Ended:
        """A whole trial."""
        self.begin(code, environment)
        return self.end()

    def command(
        self, words: Sequence[object], before: str = "", environment: Mapping[str, str] | None = None
    ) -> Ended:
        """A command line as a user types it, after some code."""
        code = f"{before}\nfrom untrigger.cli.main import run\nrun({[str(word) for word in words]!r})"
        return self.run(code, environment)

    def _write(self, order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, int]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def started(folder: Path) -> Trials:
    """A prepared process, in name spaces of its own where the system lets us."""
    own = ("unshare", "--user", "--map-root-user", "--mount")
    namespaces = _works((*own, "mount", "-t", "tmpfs", "tmpfs", str(folder)))
    command = [*(own if namespaces else ()), sys.executable, str(ZYGOTE)]
    with (folder / "zygote.err").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    trials = Trials(process, folder, namespaces)
    assert trials._read() == {"ready": True}
    return trials


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
