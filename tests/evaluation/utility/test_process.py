from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from untrigger.errors import InputRefused, Interrupted, OutOfMemory, UntriggerError
from untrigger.evaluation.utility import process
from untrigger.evaluation.utility.messages import Order, TaskOrder
from untrigger.evaluation.utility.process import child_environment, evaluation, last_lines, require_harness
from untrigger.observer import Silent

PUT = (
    "import json, os, signal, sys, time\n"
    "order = json.load(open(sys.argv[1]))\n"
    "def put(task):\n"
    "    os.mkdir(order['inbox'] + '/x')\n"
    "    open(order['inbox'] + '/x/facts.json', 'w').write(task)\n"
    "    os.rename(order['inbox'] + '/x', order['inbox'] + '/' + task)\n"
    "def tell(**event):\n"
    "    print(json.dumps(event), flush=True)\n"
)


class Watching(Silent):
    """An observer that notes what it is told and may ask to stop."""

    def __init__(self, stopping: Callable[[], bool] = lambda: False) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.stopping = stopping

    def prompts(self, label: str, done: int, total: int) -> None:
        self.seen.append((label, done, total))

    def stop(self) -> bool:
        return self.stopping()


def order(folder: Path) -> Order:
    return Order(
        model=folder,
        base=None,
        device="cpu",
        dtype="auto",
        data=folder,
        tasks=(TaskOrder(name="rte", limit=1), TaskOrder(name="piqa", limit=1)),
        batch_size=1,
        max_length=8,
        max_new_tokens=4,
        template="none",
        inbox=folder / "inbox",
    )


def deliver(folder: Path, code: str, observer: Silent, *tasks: str) -> None:
    with evaluation(order(folder), folder, observer, (sys.executable, "-c", PUT + code)) as child:
        for task in tasks:
            (folder / task).mkdir()
            child.deliver(task, f"model: {task}", folder / task)


def test_finished_tasks_are_moved_and_progress_is_told(tmp_path):
    observer = Watching()
    code = (
        "tell(kind='asked', task='rte', done=1, total=2)\nput('rte')\ntell(kind='task', task='rte')\n"
        "tell(kind='asked', task='piqa', done=2, total=2)\ntime.sleep(0.5)\nput('piqa')\n"
    )
    deliver(tmp_path, code, observer, "rte", "piqa")
    assert [(tmp_path / task / "facts.json").read_text() for task in ("rte", "piqa")] == ["rte", "piqa"]
    assert ("model: piqa", 2, 2) in observer.seen and ("model: piqa", 1, 2) not in observer.seen
    assert not (tmp_path / "inbox").exists()


def test_an_error_of_ours_keeps_its_kind(tmp_path):
    code = "tell(kind='failed', error_code='input_refused', what='a pickle', why='unsafe', todo='convert it')"
    with pytest.raises(InputRefused) as refused:
        deliver(tmp_path, code, Silent(), "rte")
    assert (refused.value.what, refused.value.why, refused.value.todo) == ("a pickle", "unsafe", "convert it")


def test_a_crash_shows_the_last_lines_and_the_log(tmp_path):
    code = "sys.stderr.write('first\\n 50%|xx| 1/2\\r\\n' + 'more\\n' * 9 + 'KeyError: 7\\n'); sys.exit(5)"
    with pytest.raises(UntriggerError, match="code 5 at rte") as failed:
        deliver(tmp_path, code, Silent(), "rte")
    assert failed.value.why == "its last lines: more | more | more | KeyError: 7"
    assert str(tmp_path / "evaluation.log") in failed.value.todo


def test_a_killed_child_speaks_of_memory(tmp_path):
    with pytest.raises(OutOfMemory, match="killed at piqa") as failed:
        deliver(tmp_path, "put('rte')\nos.kill(os.getpid(), signal.SIGKILL)", Silent(), "rte", "piqa")
    assert "--batch-size" in failed.value.todo
    assert (tmp_path / "rte" / "facts.json").exists()


@pytest.mark.parametrize("said", ["hello", '{"kind": "gift"}', '{"kind": "asked", "task": "rte"}'])
def test_what_is_no_event_is_an_error(tmp_path, said):
    with pytest.raises(UntriggerError, match="no event"):
        deliver(tmp_path, f"print({said!r}, flush=True)\ntime.sleep(60)", Silent(), "rte")


def test_stopping_ends_the_child_even_if_it_will_not(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.3)
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(order['inbox'] + '/../pid', 'w').write(str(os.getpid()))\n"
        "tell(kind='asked', task='rte', done=0, total=1)\ntime.sleep(60)"
    )
    pid = tmp_path / "pid"
    observer = Watching(lambda: pid.exists() and pid.read_text() != "")
    with pytest.raises(Interrupted, match="finished tasks are kept"):
        deliver(tmp_path, code, observer, "rte")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_child_has_no_network_and_a_cache_of_its_own(tmp_path):
    environment = child_environment({"PYTHONPATH": f"src{os.pathsep}/lib", "A": "b"}, tmp_path, online=False)
    assert environment["A"] == "b"
    assert environment["HF_DATASETS_CACHE"] == str(tmp_path)
    assert environment["HF_HUB_OFFLINE"] == environment["HF_DATASETS_OFFLINE"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(Path("src").absolute()), "/lib"]
    assert "HF_HUB_OFFLINE" not in child_environment({}, tmp_path, online=True)


def test_last_lines_of_an_empty_log(tmp_path):
    (tmp_path / "log").write_text("  \n\r 10%|x| 1/9\r")
    assert last_lines(tmp_path / "log") == "none"


def test_a_missing_or_other_lm_eval_is_named_with_its_cure(monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(process, "version", missing)
    with pytest.raises(UntriggerError, match="lm-eval") as failed:
        require_harness()
    assert "untrigger[eval]" in failed.value.todo
    monkeypatch.setattr(process, "version", lambda name: "0.4.9")
    with pytest.raises(UntriggerError, match=r"0\.4\.9 is installed, 0\.4\.13"):
        require_harness()


def test_only_the_child_imports_lm_eval():
    source = Path(process.__file__).parents[2]
    texts = {str(path.relative_to(source)): path.read_text() for path in source.rglob("*.py")}
    imports = re.compile(r"^\s*(?:from|import) (?:lm_eval|datasets)\b", re.MULTILINE)
    assert [name for name, text in texts.items() if imports.search(text)] == ["evaluation/utility/harness.py"]
    of_these = re.compile(r"import .*\bharness\b|utility\.harness import|utility\.child import|import .*\bchild\b")
    assert [name for name, text in texts.items() if of_these.search(text)] == ["evaluation/utility/child.py"]
