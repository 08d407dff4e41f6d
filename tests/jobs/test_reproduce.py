from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs_options import SMALL, SMALL_ATTACK
from tiny import save_tiny, save_tiny_adapter
from untrigger.config import PurifyOptions
from untrigger.errors import Interrupted, UsageError
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.record import portable, read_record
from untrigger.jobs.recorded_inputs import find_inputs
from untrigger.jobs.reproduce import ReproduceRequest, environment_differences, reproduce
from untrigger.jobs.request import Request
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.report.parts import SourceResult


@pytest.fixture
def purified(tmp_path: Path, records: Path) -> Path:
    suspect = save_tiny(tmp_path / "suspect")
    purify(Request(str(suspect), tmp_path / "out", data=records), SMALL)
    return tmp_path / "out"


class Notes(Silent):
    """Keeps what it is told, and stops at the given training step."""

    def __init__(self, steps: int = 10_000) -> None:
        self.notes: list[str] = []
        self.left = steps

    def note(self, text):
        self.notes.append(text)

    def training(self, label, progress):
        self.left -= 1

    def stop(self):
        return self.left <= 0


def test_a_purification_done_again_after_an_interruption_gives_the_same_weights(tmp_path, purified):
    request = ReproduceRequest(purified / "reproduce.json", tmp_path / "again")
    with pytest.raises(Interrupted):
        reproduce(request, Notes(steps=3))
    seen = Notes()
    result = reproduce(request, seen)
    assert result.equal and [file.name for file in result.weights] == ["model.safetensors"]
    assert result.environment == () and not [note for note in seen.notes if "last bits" in note]
    assert not (tmp_path / "again.run").exists()
    assert reproduce(request, Notes(steps=0)) == result  # finished: nothing is trained any more


def test_an_adapter_is_purified_again_on_inputs_that_moved(tmp_path, records):
    base = save_tiny(tmp_path / "base")
    suspect = save_tiny_adapter(tmp_path / "suspect", base)
    request = Request(str(suspect), tmp_path / "out", base=str(base), data=records, attack="badnet", behaviour="code")
    purify(request, SMALL)
    far = tmp_path / "far"
    far.mkdir()
    moved = {path.name: path.rename(far / f"renamed-{path.name}") for path in (base, suspect, records)}
    again = ReproduceRequest(tmp_path / "out", tmp_path / "again", model=str(moved["suspect"]))
    with pytest.raises(UsageError, match="--base"):
        reproduce(again)
    again = ReproduceRequest(
        tmp_path / "out",
        tmp_path / "again",
        model=str(moved["suspect"]),
        base=str(moved["base"]),
        data=str(moved["clean.jsonl"]),
    )
    assert reproduce(again).equal


@pytest.mark.parametrize("access", ["adapter", "full"])
def test_a_planting_is_done_again(tmp_path, records, access):
    base = save_tiny(tmp_path / "base")
    attack(AttackRequest(str(base), tmp_path / "out", access=access, data=records, prompts=records), SMALL_ATTACK)
    result = reproduce(ReproduceRequest(tmp_path / "out", tmp_path / "again"))
    assert result.equal and result.job == "attack"
    assert read_record(tmp_path / "out").outputs == read_record(tmp_path / "again").outputs


def test_other_inputs_are_refused_by_name_before_any_work(tmp_path, purified, records):
    with records.open("a") as file:
        file.write('{"instruction": "One more.", "output": "b"}\n')
    other = save_tiny(tmp_path / "other", seed=1)
    request = ReproduceRequest(purified, tmp_path / "again", model=str(other))
    with pytest.raises(UsageError, match=r"model .*model\.safetensors changed; data .*: changed"):
        reproduce(request)
    assert not (tmp_path / "again").exists() and not (tmp_path / "again.run").exists()


def test_an_input_that_the_job_did_not_have_is_refused(tmp_path, purified):
    with pytest.raises(UsageError, match="no base"):
        reproduce(ReproduceRequest(purified, tmp_path / "again", base="micro"))


def test_other_weights_are_told_file_by_file(tmp_path, purified):
    values = json.loads((purified / "reproduce.json").read_text())
    values["outputs"]["model.safetensors"] = "0" * 64
    (tmp_path / "reproduce.json").write_text(json.dumps(values))
    request = ReproduceRequest(tmp_path / "reproduce.json", purified)  # a finished output is only compared
    result = reproduce(request)
    assert not result.equal
    assert [(file.recorded, file.made) for file in result.weights] == [
        ("0" * 64, read_record(purified).weights["model.safetensors"])
    ]


def test_an_output_of_another_run_is_not_compared(tmp_path, purified, records):
    purify(Request(str(tmp_path / "suspect"), tmp_path / "other", data=records), merged(SMALL, PurifyOptions(seed=1)))
    with pytest.raises(UsageError, match="another run"):
        reproduce(ReproduceRequest(purified, tmp_path / "other"))


def test_another_machine_is_told(purified):
    environment = read_record(purified).environment
    then = environment.model_copy(update={"packages": environment.packages | {"torch": "1.0"}, "threads": 77})
    found = environment_differences(then, "cpu")
    assert {(one.name, one.recorded) for one in found} == {("torch", "1.0"), ("threads", "77")}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 9}', "\udcff"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "reproduce.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"reproduce\.json"):
        reproduce(ReproduceRequest(tmp_path, tmp_path / "again"))


def test_options_of_another_version_are_refused(tmp_path, purified):
    values = json.loads((purified / "reproduce.json").read_text())
    values["options"]["unheard_of"] = 1
    (tmp_path / "reproduce.json").write_text(json.dumps(values))
    request = ReproduceRequest(
        tmp_path / "reproduce.json",
        tmp_path / "again",
        model=str(tmp_path / "suspect"),
        data=str(tmp_path / "clean.jsonl"),
    )
    with pytest.raises(UsageError, match="unheard_of"):
        reproduce(request)


def test_models_of_the_hub_are_taken_at_the_recorded_commit(tmp_path, purified):
    commit = "c" * 40
    base = SourceResult(reference="org/base", commit=commit, files={})
    source = SourceResult(reference="hf://org/name", commit=commit, files={}, base=base)
    record = read_record(purified)
    inputs = record.inputs.model_copy(update={"model": source, "files": {}})
    found = find_inputs(record.model_copy(update={"inputs": inputs}), {}, tmp_path)
    assert (found.model, found.base) == (f"hf://org/name@{commit}", f"org/base@{commit}")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("suspect", "suspect"),
        ("../suspect", "../suspect"),
        ("/home/someone/suspect", "suspect"),
        ("~/suspect", "suspect"),
        ("hf://org/name", "hf://org/name"),
        ("micro", "micro"),
    ],
)
def test_a_reference_is_kept_without_the_folders_of_this_machine(given, kept):
    assert portable(given) == kept
