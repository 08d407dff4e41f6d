"""Fuzzes the parsers: `python fuzz/run.py --minutes N --target NAME|all --corpus DIR` (docs/fuzzing.md)."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NAMES = (
    *("safetensors", "index", "config", "generation-config", "adapter-config", "tokenizer", "tokenizer-config"),
    *("template", "rendered-template", "gguf", "records", "rows", "rows-csv", "result", "reproduce", "run", "mark"),
    *("signature", "signature-tensors", "attack-report"),
)
PATIENCE = 600
"""Seconds that a process may take beyond its time before it is killed as one that hangs."""

Fuzz = Callable[[str, Path, Path, int], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzzes the targets one after the other; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="for each target")
    parser.add_argument("--target", choices=("all", *NAMES), default="all")
    parser.add_argument("--corpus", type=Path, required=True, help="folder for inputs, crashes and summary.json")
    given = parser.parse_args(arguments)
    from one import fuzz  # loads torch, once for all targets

    folder = given.corpus.resolve()
    for name in NAMES if given.target == "all" else (given.target,):
        repeated(fuzz, name, folder, given.minutes * 60)
        found = summary(folder)
        (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
        sys.stdout.write(json.dumps(found.get(name, {"target": name, "began": False})) + "\n")
        sys.stdout.flush()
    return int(any(row["crashes"] for row in summary(folder).values()))


def repeated(fuzz: Fuzz, name: str, folder: Path, seconds: float) -> None:
    """Fuzzes one target; a process that ends early is begun again for the rest of the time."""
    end = accounted(folder, name) + seconds
    while (left := end - accounted(folder, name)) >= 1:
        before = accounted(folder, name)
        process(fuzz, name, folder, int(left))
        if accounted(folder, name) == before:  # it cannot even begin: its log says why
            return


def process(fuzz: Fuzz, name: str, folder: Path, seconds: int) -> None:
    """One process of its own, which libFuzzer ends."""
    crashes = folder / "crashes" / name
    crashes.mkdir(parents=True, exist_ok=True)
    number = os.fork()
    if number == 0:
        log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        fuzz(name, folder / "inputs" / name, crashes, seconds)
        os._exit(0)
    deadline = time.monotonic() + seconds + PATIENCE
    while os.waitpid(number, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            (crashes / "hang").touch()
            os.kill(number, signal.SIGKILL)
        time.sleep(0.5)


def accounted(folder: Path, name: str) -> float:
    """The seconds for which a target was fuzzed so far."""
    file = folder / "crashes" / f"{name}.json"
    return float(json.loads(file.read_text())["seconds"]) if file.exists() else 0.0


def summary(folder: Path) -> dict[str, dict[str, object]]:
    """Target -> executions, seconds, crashes, slowest input and peak memory; hangs and ended processes count."""
    found = {}
    for name in NAMES:
        file = folder / "crashes" / f"{name}.json"
        if file.exists():
            ended = sorted(path.name for path in (folder / "crashes" / name).glob("*") if _ended(path.name))
            account = json.loads(file.read_text())
            found[name] = {"target": name} | account | {"crashes": account["crashes"] | dict.fromkeys(ended, 1)}
    return found


def _ended(name: str) -> bool:
    return name == "hang" or name.startswith(("timeout-", "crash-", "oom-"))


if __name__ == "__main__":
    sys.exit(main())
