"""The child process, the network guard, and where pickles could come in."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from huggingface_hub import constants

import untrigger
from children import chatter, connect, crash, double, fail, leave, refuse, sleep, spin, start, swell, write
from hostile import refused
from untrigger.errors import InputRefused
from untrigger.models.untrusted.child import Json, Limits, run_limited
from untrigger.models.untrusted.network import NetworkUsed, no_network

SOURCE = Path(untrigger.__file__).parent
SMALL = Limits(cpu_seconds=1, memory=200 * 2**20)


def test_the_child_answers_from_another_process_without_our_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    answer = run_limited(double, {"number": 21}, "a file")
    assert answer["number"] == 42 and answer["token"] is None and answer["pid"] != os.getpid()


def test_what_the_child_prints_is_no_answer() -> None:
    assert run_limited(chatter, {}, "a file") == {"heard": "only this"}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (spin, ("takes too long", "1 seconds of a processor")),
        (swell, ("fails", "MemoryError")),
        (crash, ("ended the process", "signal 11")),
        (leave, ("ended the process", "code 7")),
        (fail, ("fails", "KeyError: 'within'")),
        (refuse, ("fails", "a fault (its reason)")),
        (connect, ("fails", "socket.")),
        (start, ("fails", "subprocess.Popen")),
    ],
)
def test_a_child_that_goes_wrong_is_a_refusal_that_says_how(task: Callable[[Json], Json], words: tuple[str]) -> None:
    with refused(InputRefused, "a file", *words):
        run_limited(task, {}, "a file", SMALL)


def test_a_child_that_waits_is_ended() -> None:
    began = time.monotonic()
    with refused(InputRefused, "takes too long", "more than 1 seconds"):
        run_limited(sleep, {}, "a file", Limits(wall_seconds=1.0))
    assert time.monotonic() - began < 30


def test_a_child_writes_only_where_it_may(tmp_path: Path) -> None:
    order: Json = {"path": str(tmp_path / "file")}
    with refused(InputRefused, "a file"):
        run_limited(write, order, "a file", SMALL)
    assert not (tmp_path / "file").exists() or not (tmp_path / "file").read_text()
    run_limited(write, order, "a file", Limits(writes=True))
    assert (tmp_path / "file").read_text() == "x"


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch):
    """A server on this machine, and sockets that the tests' own guard leaves alone."""
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_nothing_reaches_the_network_and_everything_does_again(listening: tuple[str, int]) -> None:
    before = socket.socket.connect, socket.getaddrinfo, constants.HF_HUB_OFFLINE
    with socket.socket() as one, pytest.raises(NetworkUsed, match=f"{listening[1]} was tried"), no_network():
        one.connect(listening)
    with pytest.raises(NetworkUsed, match=r"evil\.example was tried"), no_network():
        socket.getaddrinfo("evil.example", 443)
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    with datagrams, pytest.raises(NetworkUsed, match=r"192\.0\.2\.1:53"), no_network():
        datagrams.sendto(b"x", ("192.0.2.1", 53))
    assert (socket.socket.connect, socket.getaddrinfo, constants.HF_HUB_OFFLINE) == before
    socket.create_connection(listening).close()


def test_an_attempt_that_is_passed_over_is_told_in_the_end(listening: tuple[str, int]) -> None:
    with socket.socket() as one, pytest.raises(NetworkUsed, match="was tried"), no_network():
        with suppress(NetworkUsed):
            one.connect(listening)
        assert one.fileno() >= 0


def test_this_machine_is_open_where_allowed_and_no_other(listening: tuple[str, int]) -> None:
    with no_network(loopback=True):
        socket.create_connection(listening).close()
    with socket.socket() as one, pytest.raises(NetworkUsed), no_network(loopback=True):
        one.connect(("192.0.2.1", 80))


def test_a_pair_of_sockets_and_threads_work_as_ever() -> None:
    with no_network():
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=lambda: theirs.sendall(b"x"))
        thread.start()
        assert ours.recv(1) == b"x"
        thread.join()
        ours.close()
        theirs.close()


MODULES = {"pickle", "dill", "joblib", "shelve", "marshal"}
PICKLES = {
    ("torch", "load"),
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("joblib", "load"),
    ("dill", "load"),
    ("dill", "loads"),
    ("cloudpickle", "load"),
    ("cloudpickle", "loads"),
    ("shelve", "open"),
    ("marshal", "loads"),
    ("marshal", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("pandas", "read_pickle"),
}


def pickle_reaching(tree: ast.AST) -> list[str]:
    """Calls and imports through which a pickle could be opened."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and tuple(ast.unparse(node).split(".")) in PICKLES:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{name.name}" for name in node.names if (node.module, name.name) in PICKLES]
        elif isinstance(node, ast.Import):
            found += [
                name.name for name in node.names if name.name in {"pickle", "dill", "joblib", "shelve", "marshal"}
            ]
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "trust_remote_code"):
            found += [] if ast.unparse(node.value) == "False" else [f"{node.arg}="]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import pickle",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "f(trust_remote_code=given)",
    ],
)
def test_the_search_for_pickles_finds_them(text: str) -> None:
    assert pickle_reaching(ast.parse(text))


def test_no_source_of_ours_opens_a_pickle_or_runs_code_of_a_model() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    found = {str(path): names for path in files if (names := pickle_reaching(ast.parse(path.read_text())))}
    assert len(files) > 100 and not found


def test_every_model_of_the_library_is_loaded_without_pickles_and_without_code() -> None:
    """Each `from_pretrained` of a model says that it reads safetensors and runs no code, on its own."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AutoModelForCausalLM.from_pretrained"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if None in given:  # a GGUF file, which has no other form
                    assert "gguf" in path.name
                    continue
                assert given["use_safetensors"] == "True" and given["trust_remote_code"] == "False", path


def test_the_command_is_as_quick_as_before_to_show_help() -> None:
    code = "import untrigger.models.untrusted.child, untrigger.models.untrusted.template_render, sys;"
    code += "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
