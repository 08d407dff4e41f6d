from __future__ import annotations

import pytest

from untrigger.errors import UsageError
from untrigger.runs import open_run


def writer(text, calls):
    def build(work):
        calls.append(text)
        (work / "value.txt").write_text(text)
        (work / "scratch" / "half").write_text("unfinished")
        return 7

    return build


def test_a_finished_stage_is_not_built_again(tmp_path):
    calls = []
    for _ in range(2):
        with open_run(tmp_path / "run", {"seed": 1}) as run:
            folder = run.stage("one", writer("hello", calls))
            assert (folder / "value.txt").read_text() == "hello"
            assert not (folder / "scratch").exists()
    assert calls == ["hello"]


def test_a_damaged_stage_is_built_again(tmp_path):
    calls = []
    with open_run(tmp_path / "run", {}) as run:
        folder = run.stage("one", writer("hello", calls))
        (folder / "value.txt").write_text("hellp")
        run.stage("one", writer("hello", calls))
    assert calls == ["hello", "hello"]
    assert (folder / "value.txt").read_text() == "hello"


def test_an_unfinished_stage_keeps_its_scratch(tmp_path):
    def fails(work):
        (work / "scratch" / "half").write_text("kept")
        raise RuntimeError("stopped")

    seen = []

    def goes_on(work):
        seen.append((work / "scratch" / "half").read_text())
        return 0

    with open_run(tmp_path / "run", {}) as run:
        with pytest.raises(RuntimeError):
            run.stage("one", fails)
        run.stage("one", goes_on)
    assert seen == ["kept"]


def test_costs_tell_tokens_and_order(tmp_path):
    with open_run(tmp_path / "run", {}) as run:
        run.stage("b", writer("x", []))
        run.stage("a", writer("y", []))
        assert [(cost.name, cost.tokens) for cost in run.costs()] == [("b", 7), ("a", 7)]
        assert all(cost.seconds >= 0 for cost in run.costs())


def test_another_identity_is_refused_and_the_difference_named(tmp_path):
    with open_run(tmp_path / "run", {"seed": 1, "model": "a"}):
        pass
    with (
        pytest.raises(UsageError, match="seed: 1 then, 2 now"),
        open_run(tmp_path / "run", {"seed": 2, "model": "a"}),
    ):
        pass


def test_a_folder_that_holds_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"), open_run(tmp_path, {}):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.txt"]


def test_two_runs_at_once_are_refused(tmp_path):
    with (
        open_run(tmp_path / "run", {}),
        pytest.raises(UsageError, match="in use by process"),
        open_run(tmp_path / "run", {}),
    ):
        pass
