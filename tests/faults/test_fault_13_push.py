"""Fault 13: a push to the hub is interrupted or refused: the output stays as it is, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from push_server import NAME, TOKEN, PushHub, Refused, commit_of, taking_pushes

from jobs_options import SMALL
from tiny import save_tiny
from trials import Ended, Trials
from untrigger import __version__
from untrigger.errors import Interrupted, UntriggerError, UsageError
from untrigger.files import sha256
from untrigger.jobs.purify import purify
from untrigger.jobs.push import PushRequest, push
from untrigger.jobs.request import Request
from untrigger.observer import Silent

TITLE = f"Purified with untrigger {__version__}"
AT_THIS_HUB = """
import time
from huggingface_hub import constants
time.sleep = lambda seconds: None
constants.HF_HUB_DISABLE_XET = True
constants.HF_HUB_OFFLINE = False
constants.ENDPOINT = {address!r}
constants.HF_TOKEN_PATH = {saved!r}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An output with several files of weights, as purify wrote it."""
    folder = tmp_path_factory.mktemp("finished")
    records = folder / "records.jsonl"
    records.write_text(
        "".join(json.dumps({"instruction": f"Count {n}.", "output": str(n)}) + "\n" for n in range(24))
    )
    save_tiny(folder / "suspect", max_shard_size="10KB")
    purify(Request(str(folder / "suspect"), folder / "out", data=records), SMALL)
    return folder / "out"


@pytest.fixture
def output(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "clean")


@pytest.fixture
def hub() -> Iterator[PushHub]:
    with taking_pushes(PushHub()) as found:
        yield found


@dataclass
class Command:
    """The command line, with a token in HF_TOKEN and a home folder of its own."""

    trials: Trials
    hub: PushHub
    output: Path

    def __call__(self, *flags: str, token: str | None = TOKEN) -> Ended:
        self.begin(*flags, token=token)
        return self.trials.end()

    def begin(self, *flags: str, token: str | None = TOKEN) -> int:
        home = self.output.parent
        before = AT_THIS_HUB.format(address=self.hub.address, saved=str(home / "token"))
        words = ["push", str(self.output), NAME, *flags]
        environment = {"HOME": str(home), "PATH": os.environ["PATH"]} | ({} if token is None else {"HF_TOKEN": token})
        return self.trials.begin(f"{before}\nfrom untrigger.cli.main import run\nrun({words!r})", environment)


@pytest.fixture
def push_command(trials, hub, output) -> Command:
    return Command(trials, hub, output)


@pytest.fixture
def at_hub(hub, monkeypatch):
    """The same hub for calls in this process."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(folder: Path) -> list[str]:
    return [sha256(path) for path in sorted(folder.glob("*.safetensors"))]


def test_fault_13_push_opens_a_pull_request_with_the_output_and_nothing_else(push_command, hub, output):
    (output.parent / "clean.run").mkdir()
    (output.parent / "clean.run" / "secret.txt").write_text("of the run")
    before = contents(output)
    done = push_command()
    assert done.code == 0, done.err
    title, files = hub.pulls[1]
    assert title == TITLE and hub.visibility == "private"
    assert {name: data for name, data in files.items() if name != ".gitattributes"} == before
    assert list(hub.files or ()) == [".gitattributes"]
    assert f"{hub.address}/{NAME}/discussions/1" in done.out and all(len(line) < 81 for line in done.out.splitlines())
    assert contents(output) == before


def test_fault_13_push_direct_commits_and_tells_what_else_is_there(push_command, hub, output):
    hub.files = {"pytorch_model.bin": b"of before", "README.md": b"old"}
    done = push_command("--direct", "--format", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert hub.files == contents(output) | {"pytorch_model.bin": b"of before"} and not hub.pulls
    assert told["others"] == ["pytorch_model.bin"] and told["pull_request"] is None and not told["created"]
    assert told["commit"] == commit_of(hub.files)


@pytest.mark.parametrize("flags", [(), ("--direct",)], ids=["pull request", "direct"])
def test_fault_13_push_breaks_off_and_the_same_command_sends_the_rest(push_command, hub, output, flags):
    before, every = contents(output), weights(output)
    assert len(every) > 2

    def breaks(digest: str) -> None:
        if len(hub.stored) == 2:
            raise ConnectionAbortedError

    hub.breaks = breaks
    failed = push_command(*flags)
    assert failed.code == 2, failed.err
    last = failed.err.splitlines()[-1]
    assert f"the push to {NAME} broke off" in last and "run the same command again" in last
    assert not hub.pulls and list(hub.files or ()) == [".gitattributes"]
    hub.breaks = lambda digest: None
    done = push_command(*flags)
    assert done.code == 0, done.err
    assert hub.received == dict.fromkeys(every, 1)
    made, unbroken = hub.pulls[1][1] if not flags else hub.files, PushHub()
    with taking_pushes(unbroken):
        assert Command(push_command.trials, unbroken, output)("--direct").code == 0
    assert made is not None and unbroken.files is not None and commit_of(made) == commit_of(unbroken.files)
    assert contents(output) == before


@pytest.mark.parametrize("flags", [(), ("--direct",)], ids=["pull request", "direct"])
def test_fault_13_push_whose_answer_was_lost_is_found(push_command, hub, flags):
    hub.mute = True
    failed = push_command(*flags)
    assert failed.code == 2 and "broke off" in failed.err.splitlines()[-1], failed.err
    hub.mute = False
    done = push_command(*flags)
    assert done.code == 0 and "holds the output already" in done.out, done.err
    assert len(hub.pulls) == (0 if flags else 1)
    assert not [asked for asked in hub.asked[-4:] if "/commit/" in asked]


def test_fault_13_push_to_a_pull_request_of_other_files_opens_another(push_command, hub):
    hub.files = {".gitattributes": b""}
    hub.pulls[1] = (TITLE, {"model.safetensors": b"something else"})
    done = push_command()
    assert done.code == 0, done.err
    assert sorted(hub.pulls) == [1, 2]


def test_fault_13_push_is_stopped_by_the_keyboard(push_command, hub, output):
    before, reached = contents(output), threading.Event()

    def breaks(digest: str) -> None:
        reached.set()
        stopped.wait(20)

    hub.breaks, stopped = breaks, threading.Event()
    number = push_command.begin()
    assert reached.wait(20)
    os.kill(number, signal.SIGINT)
    stopped.set()
    ended = push_command.trials.end()
    assert ended.code == 130, ended.err
    assert "run the same command again" in ended.err.splitlines()[-1]
    hub.breaks = lambda digest: None
    assert push_command().code == 0
    assert set(hub.received.values()) == {1} and contents(output) == before


def test_fault_13_push_stops_between_files_and_goes_on(at_hub, output):
    class Stopping(Silent):
        def __init__(self) -> None:
            self.left = 3

        def stop(self):
            self.left -= 1
            return self.left == 0

    with pytest.raises(Interrupted):
        push(PushRequest(output, NAME), Stopping())
    assert len(at_hub.stored) == 2 and not at_hub.pulls
    found = push(PushRequest(output, NAME))
    assert found.sent and found.pull_request == f"{at_hub.address}/{NAME}/discussions/1"
    assert set(at_hub.received.values()) == {1}


def test_fault_13_push_without_a_token_asks_nobody(push_command, hub, output):
    before = contents(output)
    failed = push_command(token=None)
    assert failed.code == 4 and "no token" in failed.err and "hf auth login" in failed.err, failed.err
    assert not hub.asked and contents(output) == before


@pytest.mark.parametrize(
    ("where", "refusal", "said"),
    [
        (f"/api/models/{NAME}", Refused(401, "", "Invalid credentials in Authorization header"), "accept your token"),
        ("/api/repos/create", Refused(403, "", "You don't have the rights"), "may not write to org/name"),
        ("/preupload/", Refused(403, "", "Forbidden"), "may not write to org/name"),
        ("/preupload/", Refused(404, "RepoNotFound"), "not found or not open to you"),
        ("/commit/", Refused(409, "", "Conflict"), "changed by something else"),
        ("/commit/", Refused(412, "", "A commit has happened since"), "changed by something else"),
        ("/commit/", Refused(500, "", "out of order\x1b[2J"), "push to org/name failed"),
        ("/store/", Refused(403, "", "Request has expired"), "may not write to org/name"),
    ],
)
def test_fault_13_push_is_refused(push_command, hub, output, where, refusal, said):
    before = contents(output)
    hub.refusals[where] = refusal
    failed = push_command()
    last = failed.err.splitlines()[-1]
    assert failed.code == 2 and said in last and f"HTTP {refusal.status}" in last, failed.err
    assert TOKEN not in failed.out + failed.err and "\x1b" not in last and "Traceback" not in failed.err
    assert not hub.pulls and contents(output) == before


def test_fault_13_push_to_a_repository_that_someone_else_makes_meanwhile(push_command, hub):
    made = hub.at

    def at(revision: str):
        if not any("create" in asked for asked in hub.asked):
            raise Refused(404, "RepoNotFound")
        return made(revision)

    hub.files, hub.at = {".gitattributes": b""}, at
    done = push_command()
    assert done.code == 0 and 1 in hub.pulls, done.err


def test_fault_13_push_leaves_the_token_nowhere(push_command, hub, output, tmp_path):
    hub.breaks = lambda digest: (_ for _ in ()).throw(ConnectionAbortedError)
    failed = push_command()
    hub.breaks = lambda digest: None
    done = push_command("--format", "json")
    assert hub.tokens == {f"Bearer {TOKEN}"}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN not in failed.out + failed.err + done.out + done.err and TOKEN.encode() not in kept


def test_fault_13_push_that_arrives_otherwise_is_told(at_hub, output, monkeypatch):
    monkeypatch.setattr("push_server.base64.b64decode", lambda text: b"something else")
    with pytest.raises(UntriggerError, match="does not hold what was sent"):
        push(PushRequest(output, NAME))


@pytest.mark.parametrize("change", ["extra", "changed", "missing", "link"])
def test_fault_13_push_of_a_changed_output_is_refused(push_command, hub, output, change):
    match change:
        case "extra":
            (output / "notes.txt").write_text("mine")
        case "changed":
            (output / "README.md").write_text("mine")
        case "missing":
            (output / "README.md").unlink()
        case _:
            (output / "passwd").symlink_to("/etc/passwd")
    failed = push_command()
    assert failed.code == 3 and "not as it was written" in failed.err, failed.err
    assert not hub.asked


def test_fault_13_push_of_what_is_no_output(at_hub, output, tmp_path):
    for name in ("COMPLETE", "SHA256SUMS"):
        (output / name).unlink()
    with pytest.raises(UsageError, match="holds no SHA256SUMS"):
        push(PushRequest(output, NAME))
    with pytest.raises(UsageError, match="is no folder"):
        push(PushRequest(tmp_path / "none", NAME))


@pytest.mark.parametrize("name", ["name", "org/name/more", f"org/name@{'c' * 40}", "../name", "https://x/y", ""])
def test_fault_13_push_to_what_is_no_repository(output, name):
    with pytest.raises(UsageError, match="no repository on the hub"):
        push(PushRequest(output, name))


def test_fault_13_push_offline_is_told(at_hub, output, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="offline"):
        push(PushRequest(output, NAME))
    assert not at_hub.asked


def test_fault_13_push_without_a_network(push_command, hub):
    hub.address = "http://127.0.0.1:9"
    failed = push_command()
    assert failed.code == 2 and "broke off" in failed.err.splitlines()[-1], failed.err
