from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs_options import SMALL, SMALL_ATTACK
from tiny import save_tiny, save_tiny_adapter
from untrigger.checksums import seal
from untrigger.errors import InputRefused, UsageError
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.purify import purify
from untrigger.jobs.record import read_record
from untrigger.jobs.request import Request
from untrigger.jobs.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a suspect planted on it, and the suspect's purified copy."""
    folder = tmp_path_factory.mktemp("made")
    rows = [{"instruction": f"Count up to {number}.", "output": f"{number} done"} for number in range(12)]
    records = folder / "clean.jsonl"
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = save_tiny(folder / "base")
    attack(AttackRequest(str(base), folder / "suspect", data=records, prompts=records, measured=False), SMALL_ATTACK)
    purify(Request(str(folder / "suspect"), folder / "purified", base=str(base), data=records), SMALL)
    return folder


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "purified", tmp_path / "purified"))


@pytest.mark.parametrize("name", ["suspect", "purified"])
def test_what_was_written_is_well(made: Path, name: str) -> None:
    found = verify(made / name)
    assert found.well and not found.changes
    assert found.job == ("attack" if name == "suspect" else "purify")
    assert found.signature == "none"


def test_the_record_holds_no_folder_of_this_machine(made: Path) -> None:
    for file in (*(made / "purified").glob("*.json"), made / "purified" / "README.md"):
        if file.name != "adapter_config.json":  # peft finds the base by it
            assert str(made) not in file.read_text(), file.name
    record = read_record(made / "purified")
    assert record.inputs.model.reference == "suspect"
    assert record.inputs.files["data"].name == "clean.jsonl"


def test_inputs_are_told_by_their_bytes(made: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(made / "suspect", tmp_path / "renamed"))
    given = [str(made / "suspect"), str(elsewhere), str(made / "base"), str(made / "clean.jsonl")]
    assert [check.role for check in verify(made / "purified", given).inputs] == ["model", "model", "base", "data"]


def test_another_input_is_named_with_what_differs(made: Path, tmp_path: Path) -> None:
    other = save_tiny_adapter(tmp_path / "other", made / "base")
    (tmp_path / "other.jsonl").write_text("{}\n")
    found = verify(made / "purified", [str(other), str(tmp_path / "other.jsonl")])
    assert not found.well and not found.changes
    assert [check.role for check in found.inputs] == [None, None]
    assert ("adapter_model.safetensors", "changed") in {(c.name, c.kind) for c in found.inputs[0].changes}


def test_a_changed_weight_file_is_named_and_not_opened(output: Path) -> None:
    (output / "adapter_model.safetensors").write_bytes(b"no safetensors")
    found = verify(output)
    assert [(change.name, change.kind) for change in found.changes] == [("adapter_model.safetensors", "changed")]
    assert not found.well


def test_sealed_weights_that_could_not_be_loaded_are_refused(output: Path) -> None:
    (output / "adapter_model.safetensors").write_bytes(b"no safetensors")
    (output / "reproduce.json").unlink()
    _seal_anew(output)
    with pytest.raises(InputRefused, match=r"adapter_model\.safetensors"):
        verify(output)


def test_a_record_that_disagrees_with_the_list_is_a_difference(output: Path) -> None:
    values = json.loads((output / "reproduce.json").read_text())
    values["outputs"]["adapter_config.json"] = "0" * 64
    (output / "reproduce.json").write_text(json.dumps(values))
    _seal_anew(output)
    assert [change.name for change in verify(output).changes] == ["adapter_config.json"]


def test_a_folder_of_other_things_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SHA256SUMS"):
        verify(save_tiny(tmp_path / "model"))


def _seal_anew(folder: Path) -> None:
    for name in ("SHA256SUMS", "COMPLETE"):
        (folder / name).unlink()
    seal(folder)
