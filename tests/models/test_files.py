from __future__ import annotations

import errno
import hashlib
from collections import namedtuple
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from untrigger import files
from untrigger.errors import UntriggerError, UsageError

Usage = namedtuple("Usage", "total used free")


def test_text_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")
    files.write_text_atomic(path, "neu ü")
    assert path.read_text(encoding="utf-8") == "neu ü"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"abc" * 100_000)
    assert files.sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    destination = tmp_path / "deep" / "out"

    def build(folder: Path) -> None:
        assert not destination.exists()
        assert folder.parent == destination.parent
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")

    files.publish_folder(build, destination)
    assert (destination / "inner" / "a").read_text() == "1"
    assert list(destination.parent.iterdir()) == [destination]


def test_nothing_is_left_of_a_folder_whose_build_fails(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise UsageError("stop")

    with pytest.raises(UsageError, match="stop"):
        files.publish_folder(build, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_bad_input_44_an_existing_destination_is_refused_before_any_work(tmp_path: Path, kind: str) -> None:
    destination = tmp_path / "out"
    match kind:
        case "folder":
            destination.mkdir()
        case "file":
            destination.write_text("")
        case _:
            destination.symlink_to(tmp_path / "nowhere")
    called = []
    with pytest.raises(UsageError, match="exists already"):
        files.publish_folder(called.append, destination)
    assert called == []


def test_a_destination_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    with pytest.raises(UsageError, match="exists already"):
        files.publish_folder(lambda folder: destination.mkdir(), destination)
    assert list(tmp_path.iterdir()) == [destination]


def test_fault_2_a_full_disk_tells_needed_and_free_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Usage(100, 60, 40))
    with pytest.raises(UntriggerError, match="41 bytes needed, 40 bytes free") as caught:
        files.require_space(tmp_path / "not" / "there", 41)
    assert caught.value.exit_code == 2
    files.require_space(tmp_path, 40)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_fault_2_space_that_runs_out_while_writing_leaves_nothing(tmp_path: Path, code: int) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise OSError(code, "full", str(folder / "half"))

    with pytest.raises(UntriggerError, match="bytes free") as caught:
        files.publish_folder(build, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_fault_2_weights_that_find_no_space_are_told_alike(tmp_path: Path) -> None:
    with pytest.raises(UntriggerError, match="not enough disk space") as caught, files.disk_errors(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.exit_code == 2


def test_a_broken_weights_file_is_no_disk_error(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"no weights")
    with pytest.raises(SafetensorError), files.disk_errors(tmp_path):
        load_file(tmp_path / "weights")


def test_other_refusals_of_the_system_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UntriggerError, match=r"missing.*No such file"):
        files.write_text_atomic(tmp_path / "missing" / "a", "text")
