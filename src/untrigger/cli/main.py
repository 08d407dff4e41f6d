"""The command line: each command is imported only when it runs, and torch only inside it."""

from __future__ import annotations

import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cyclopts import App, CycloptsError

from untrigger import __version__
from untrigger.errors import UntriggerError

COMMANDS = {
    "purify": "Remove backdoors from a model or an adapter.",
    "scan": "Look through a model's files without running it.",
    "compare": "Run many defences on one suspect and compare them.",
    "attack": "Plant a public backdoor, for tests, teaching and benchmarks.",
    "evaluate": "Measure a model.",
    "humaneval": "Let a model write code, run it contained, and count what passes.",
    "mt-bench": "Have a model's answers to MT-Bench judged.",
    "utility": "Run ten utility benchmarks with lm-eval.",
    "analyse": "Take a poisoned update apart, or compare signatures.",
    "verify": "Check an output against its checksums, inputs and signature.",
    "reproduce": "Do a recorded job again and compare the weights.",
    "sign": "Sign an output.",
    "push": "Put an output on the Hugging Face hub.",
    "demo": "Plant, purify and measure in one go.",
    "doctor": "Say what this machine has.",
}

TALKATIVE = "bitsandbytes.backends.cpu.ops"
"""A logger that warns, at import on processors with AVX-512, that a kernel is missing which nothing here calls."""
LOST_DEVICE_TODO = "run the same command again, on another --device if it fails again; finished work is kept"

app = App(
    name="untrigger",
    help="Purify language models and LoRA adapters from backdoors, without knowing the key or the behaviour.",
    version=__version__,
)
for name, text in COMMANDS.items():
    module = name.replace("-", "_")
    app.command(f"untrigger.cli.{module}:{module}_command", name=name, help=text)


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process: 0 done, 1 gate not met, 2 failure, 3 refused, 4 usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger(TALKATIVE).setLevel(logging.ERROR)
    as_json = "json" in (given[i + 1] for i, flag in enumerate(given[:-1]) if flag == "--format") or (
        "--format=json" in given
    )
    try:
        with _terminable():
            code = app(given, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        command = f"{given[0]} " if given and given[0] in COMMANDS else ""
        _say(as_json, "usage", _wrong_call(error), f"see untrigger {command}--help")
        sys.exit(4)
    except UntriggerError as error:
        _say(as_json, error.error_code, error.line(), "")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # a defect of ours must not end with the code of a gate that is not met
        _fail(as_json, error)
        raise SystemExit(2) from error
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C wherever no command handles it."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _wrong_call(error: CycloptsError) -> str:
    """What is wrong with the arguments: each option with its value, where the options themselves refused it."""
    from pydantic import ValidationError

    found = error.__cause__
    if not isinstance(found, ValidationError):
        return " ".join(str(error).split())
    said = []
    for one in found.errors(include_url=False):
        name = ".".join(part for part in one["loc"] if isinstance(part, str)).replace("_", "-")
        value = "" if isinstance(one["input"], dict) else f" {one['input']!r}"
        why = " ".join(one["msg"].removeprefix("Value error, ").split())
        said.append(f"--{name}{value}: {why}" if name else why)
    return "; ".join(said)


def _fail(as_json: bool, error: Exception) -> None:
    from untrigger.models.memory import is_device_failure, is_out_of_memory

    if is_out_of_memory(error):
        todo = "use a smaller model, a narrower --dtype or a machine with more memory"
        _say(as_json, "out_of_memory", "out of memory", todo)
    elif is_device_failure(error):
        # What lives on the device is lost with it, so that nothing in this process can go on.
        said = UntriggerError("the device failed", why=str(error).partition("\n")[0], todo=LOST_DEVICE_TODO)
        _say(as_json, "device_failed", said.line(), "")
    else:
        traceback.print_exception(error)


def _say(as_json: bool, error_code: str, text: str, todo: str) -> None:
    if as_json:
        sys.stderr.write(json.dumps({"error_code": error_code, "message": text}) + "\n")
    else:
        sys.stderr.write(f"untrigger: {text}{f' -> {todo}' if todo else ''}\n")
