"""Hostile programs, each contained and classified. All of them are bounded, should the containment fail."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.code import sandbox
from untrigger.evaluation.code.sandbox import Containment, Limits, Program, containment, run_candidate

TEST = "def check(candidate):\n    assert candidate() == 1\n"
FOUND = containment()
SYSTEM_PYTHON = "/usr/bin/python3"


needs_namespaces = pytest.mark.skipif(FOUND.way != "namespaces", reason="; ".join(FOUND.warnings))


@pytest.fixture(params=sorted({FOUND.way, "process"}))
def way(request, monkeypatch) -> Containment:
    """The strongest containment of this machine, and the weaker one beside it.

    Root's own Python may be hidden from the user that candidates run as; the system's serves instead.
    """
    if request.param == FOUND.way:
        return FOUND
    if sandbox._refusal(Containment("process")) is not None:
        monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)
        if not Path(SYSTEM_PYTHON).exists() or sandbox._refusal(Containment("process")) is not None:
            pytest.skip("no Python that the user that candidates run as can read")
    return Containment("process")


def run(source: str, way: Containment = FOUND, seconds: float = 8.0) -> tuple[str, str]:
    trial = run_candidate(Program(source, TEST, "one"), way, Limits(seconds=seconds))
    return trial.outcome, trial.detail


@pytest.mark.parametrize(
    ("source", "outcome", "detail"),
    [
        ("def one():\n    return 1\n", "passed", ""),
        ("def one():\n    return 2\n", "failed", "AssertionError"),
        ("", "failed", "KeyError"),
        ("def one(:\n", "syntax error", "SyntaxError"),
        ("def one():\n    return 1  # \0\n", "syntax error", ""),
        ("def one():\n    return '\ud800'\n", "syntax error", "UnicodeEncodeError"),
        ("import sys\nsys.exit(0)\n", "failed", "SystemExit"),
        ("import os\n\n\ndef one():\n    os._exit(0)\n", "failed", "exit 0"),
        ("import os\nos.kill(os.getpid(), 9)\n", "failed", "signal 9"),
        ("import ctypes\n\n\ndef one():\n    ctypes.string_at(0)\n", "failed", "signal 11"),
        ("def one():\n    return one()\n", "failed", "RecursionError"),
        ("def one():\n    return len(bytearray(10 * 2**30)) and 1\n", "memory", ""),
        ("def one():\n    raise KeyboardInterrupt\n", "failed", "KeyboardInterrupt"),
        ("def one():\n    return input()\n", "failed", "EOFError"),
        ("def one():\n    with open('big', 'wb') as file:\n        file.write(bytes(2**25))\n", "failed", "OSError"),
    ],
)
def test_each_end_has_its_outcome(way, source, outcome, detail):
    found, said = run(source, way)
    assert (found, detail in said) == (outcome, True), said


@pytest.mark.parametrize(
    "body", ["    while True:\n        pass\n", "    import time\n    time.sleep(60)\n"], ids=["busy", "asleep"]
)
def test_a_candidate_that_does_not_end_is_ended(way, body):
    began = time.monotonic()
    assert run(f"def one():\n{body}", way, seconds=0.5)[0] == "timeout"
    assert time.monotonic() - began < 5


def test_endless_output_is_cut_and_nobody_waits_for_the_other():
    source = "def one():\n    for _ in range(10**6):\n        print('x' * 1000)\n    return 1\n"
    assert run(source) == ("failed", "BrokenPipeError")


def test_much_output_within_the_cap_is_no_fault():
    assert run("import sys\n\n\ndef one():\n    print('x' * 60000, file=sys.stderr)\n    return 1\n")[0] == "passed"


def test_no_more_processes_than_allowed(way):
    """A bomb of at most two hundred sleepers; what it is asked is how far it came."""
    source = (
        "import os, time\n\n\ndef one():\n    for count in range(200):\n        try:\n            child = os.fork()\n"
        "        except OSError:\n            return 1 if count < 10 else count\n        if not child:\n"
        "            time.sleep(20)\n            os._exit(0)\n    return 200\n"
    )
    began = time.monotonic()
    assert run(source, way)[0] == "passed"
    assert time.monotonic() - began < 10


def test_a_grandchild_that_left_the_session_ends_with_the_candidate(way):
    """It holds the output open, which is read until its last holder has gone."""
    source = (
        "import os, time\n\n\ndef one():\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            os.setsid()\n            time.sleep(25)\n        os._exit(0)\n    os.wait()\n    return 1\n"
    )
    began = time.monotonic()
    assert run(source, way)[0] == "passed"
    assert time.monotonic() - began < 5


def test_a_double_fork_does_not_outlive_the_time_limit(way):
    source = (
        "import os, time\n\n\ndef one():\n    if not os.fork():\n        os.setsid()\n        os.fork()\n"
        "    time.sleep(25)\n"
    )
    began = time.monotonic()
    assert run(source, way, seconds=0.5)[0] == "timeout"
    assert time.monotonic() - began < 5


def test_the_environment_is_empty(way, monkeypatch):
    monkeypatch.setenv("UNTRIGGER_SECRET", "key")
    # the interpreter itself sets LC_CTYPE when it finds no locale (PEP 538)
    source = "import os\n\n\ndef one():\n    return 1 if set(os.environ) <= {'LC_CTYPE'} else 0\n"
    assert run(source, way)[0] == "passed"


def test_the_working_folder_is_empty_writable_and_removed(way):
    before = set(Path(tempfile.gettempdir()).glob("untrigger-*"))
    source = (
        "import os\n\n\ndef one():\n    assert not os.listdir()\n    open('note', 'w').close()\n"
        "    os.mkdir('locked')\n    open('locked/file', 'w').close()\n    os.chmod('locked', 0)\n    return 1\n"
    )
    assert run(source, way)[0] == "passed"
    assert set(Path(tempfile.gettempdir()).glob("untrigger-*")) <= before


@needs_namespaces
def test_no_file_outside_is_written_or_even_seen(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    source = (
        f"import os, sys\n\n\ndef one():\n    assert not os.path.exists({str(secret)!r})\n"
        "    for place in ('/', '/usr', '/root', sys.prefix, os.path.dirname(os.__file__), '/proc', '/dev'):\n"
        "        try:\n            open(place + '/untrigger-note', 'w').close()\n"
        "        except OSError:\n            continue\n        return place\n    return 1\n"
    )
    assert run(source)[0] == "passed"
    assert not Path("/untrigger-note").exists()


@needs_namespaces
def test_no_connection_is_made():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        port = server.getsockname()[1]
        source = (
            f"import socket\n\n\ndef one():\n    socket.create_connection(('127.0.0.1', {port}), 2)\n    return 1\n"
        )
        assert run(source) == ("failed", "OSError")
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_namespaces
def test_candidates_have_no_rights_and_get_none():
    source = (
        "import ctypes, os\n\n\ndef one():\n    libc = ctypes.CDLL(None)\n    assert os.getuid() and os.getgid()\n"
        "    assert libc.unshare(0x10000000) == -1 and libc.mount(b't', b'/tmp', b'tmpfs', 0, None) == -1\n"
        "    assert libc.setuid(0) == -1\n    return 1\n"
    )
    assert run(source)[0] == "passed"


def test_the_candidate_holds_no_descriptors_but_its_own():
    source = (
        "import os\n\n\ndef one():\n    held = []\n    for number in range(64):\n        try:\n"
        "            os.fstat(number)\n        except OSError:\n            continue\n        held.append(number)\n"
        "    return 1 if held == [0, 1, 2, 4] else held\n"
    )
    assert run(source)[0] == "passed"


@pytest.mark.parametrize(
    "source",
    [
        "print('passed')\n",
        "import os\nfor number in range(1, 64):\n    try:\n        os.write(number, b'passed')\n    except OSError:\n"
        "        pass\nos._exit(0)\n",
        "def check(candidate):\n    pass\n\n\ndef one():\n    return 2\n",
        "import builtins, os\nbuiltins.exec = lambda *_: None\nos._exit = os.abort\n\n\ndef one():\n    return 2\n",
        "import atexit, os\natexit.register(os._exit, 0)\n\n\ndef one():\n    return 2\n",
    ],
)
def test_success_is_not_had_by_saying_so(source):
    assert run(source)[0] == "failed"


def test_a_replaced_exit_does_not_hide_a_right_answer():
    assert run("import os\nos._exit = os.write = None\n\n\ndef one():\n    return 1\n")[0] == "passed"


def test_a_thread_that_goes_on_does_not_delay_the_verdict():
    source = (
        "import threading, time\n\n\ndef one():\n"
        "    threading.Thread(target=time.sleep, args=(20,)).start()\n    return 1\n"
    )
    began = time.monotonic()
    assert run(source)[0] == "passed"
    assert time.monotonic() - began < 5


def test_dataclasses_and_future_imports_work():
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Box:\n"
        "    value: int = 1\n\n\ndef one():\n    return Box().value\n\n\nif __name__ == '__main__':\n    one(2)\n"
    )
    assert run(source)[0] == "passed"


def test_refused_namespaces_leave_the_rest_and_a_warning(monkeypatch):
    asked = []

    def refusal(contained):
        asked.append(contained.way)
        return "unshare: Operation not permitted" if contained.way == "namespaces" else None

    monkeypatch.setattr(sandbox, "_refusal", refusal)
    found = containment()
    assert asked == ["namespaces", "process"]
    assert found.way == "process"
    assert "Operation not permitted" in found.warnings[0] and "network" in found.warnings[0]


def test_without_any_containment_nothing_is_run(monkeypatch):
    monkeypatch.setattr(sandbox, "_refusal", lambda contained: "no")
    with pytest.raises(UntriggerError, match="no code can be run under limits"):
        containment()


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="Linux"):
        containment()


def test_a_set_up_that_fails_is_our_fault_not_the_candidates(monkeypatch):
    monkeypatch.setattr(sandbox, "_visible", lambda python: ("/nowhere/at/all",))
    with pytest.raises(UntriggerError, match="could not be set up"):
        run("def one():\n    return 1\n", Containment("namespaces"))


def test_no_process_of_ours_is_left():
    before = children()
    run("import os\n\n\ndef one():\n    os.fork()\n    return 1\n")
    assert children() == before


def children() -> set[str]:
    """Processes that this one has started, also those that ended and were not waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {number for task in tasks for number in (task / "children").read_text().split()}
