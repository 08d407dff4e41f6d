from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.checksums import Change, changes, listed, require_sealed, seal
from untrigger.errors import InputRefused, UsageError
from untrigger.files import sha256


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "name with spaces.json").write_text("{}")
    (folder / "empty").touch()
    seal(folder)
    return folder


def test_an_untouched_folder_has_no_changes(sealed: Path) -> None:
    assert changes(sealed) == ()
    assert listed(sealed).keys() == {"model.safetensors", "name with spaces.json", "empty"}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_the_list_and_finds_what_changed(sealed: Path) -> None:
    command = ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(command, cwd=sealed, capture_output=True, check=False).returncode == 0
    (sealed / "empty").write_text("no longer")
    assert subprocess.run(command, cwd=sealed, capture_output=True, check=False).returncode != 0


def test_the_record_is_given_the_models_files_and_is_listed_itself(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    (tmp_path / "report").write_text("r")
    hashes = seal(tmp_path, lambda outputs: " ".join(outputs), reports=("report",))
    assert (tmp_path / "reproduce.json").read_text() == "weights"
    assert hashes == listed(tmp_path) and hashes.keys() == {"weights", "report", "reproduce.json"}


@given(position=st.integers(0, 255), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_told(tmp_path_factory: pytest.TempPathFactory, position: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("out")
    data = bytearray(range(256))
    (folder / "data").write_bytes(data)
    seal(folder)
    data[position] ^= flip
    (folder / "data").write_bytes(data)
    assert changes(folder) == (Change("data", "changed"),)


def _remove(folder: Path) -> None:
    (folder / "empty").unlink()


def _add(folder: Path) -> None:
    (folder / "evil.py").touch()


def _add_folder(folder: Path) -> None:
    (folder / "evil").mkdir()


def _link(folder: Path) -> None:
    (folder / "empty").unlink()
    (folder / "empty").symlink_to("name with spaces.json")


def _link_more(folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")


def _pipe(folder: Path) -> None:
    (folder / "empty").unlink()
    os.mkfifo(folder / "empty")


def _drop_from_list(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if not line.endswith("empty\n")))


def _list_anew(folder: Path) -> None:
    (folder / "empty").write_text("other")
    text = (folder / "SHA256SUMS").read_text()
    old = next(line for line in text.splitlines() if line.endswith("empty"))
    (folder / "SHA256SUMS").write_text(text.replace(old, f"{sha256(folder / 'empty')}  empty"))


def _drop_list(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def _drop_mark(folder: Path) -> None:
    (folder / "COMPLETE").unlink()


def _odd_mark(folder: Path) -> None:
    (folder / "COMPLETE").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (_remove, {Change("empty", "missing")}),
        (_add, {Change("evil.py", "extra")}),
        (_add_folder, {Change("evil", "extra")}),
        (_link, {Change("empty", "link")}),
        (_link_more, {Change("passwd", "link")}),
        (_pipe, {Change("empty", "changed")}),
        (_drop_from_list, {Change("SHA256SUMS", "changed"), Change("empty", "extra")}),
        (_list_anew, {Change("SHA256SUMS", "changed")}),
        (_drop_list, {Change("SHA256SUMS", "missing")}),
        (_drop_mark, {Change("COMPLETE", "missing")}),
        (_odd_mark, {Change("SHA256SUMS", "changed")}),
    ],
)
def test_each_kind_of_tampering_is_named(sealed: Path, tamper, expected: set[Change]) -> None:
    tamper(sealed)
    require_sealed(sealed)
    assert set(changes(sealed)) == expected


def test_a_signature_beside_the_list_is_no_change_and_a_link_in_its_place_is(sealed: Path) -> None:
    (sealed / "model.sig").write_text("{}")
    assert changes(sealed) == ()
    (sealed / "model.sig").unlink()
    (sealed / "model.sig").symlink_to("empty")
    assert changes(sealed) == (Change("model.sig", "link"),)


@pytest.mark.parametrize(
    "line",
    [
        "0" * 64 + "  ../../etc/passwd",
        "0" * 64 + "  /etc/passwd",
        "0" * 64 + "  SHA256SUMS",
        "0" * 64 + "  ..",
        "0" * 63 + "  empty",
        "0" * 64 + " empty",
        "0" * 64 + "  empty",  # a second time
        "",
    ],
)
def test_a_list_that_names_other_things_is_refused(sealed: Path, line: str) -> None:
    with (sealed / "SHA256SUMS").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputRefused, match="line 4"):
        changes(sealed)


def test_a_folder_that_was_never_sealed_is_no_changed_one(tmp_path: Path) -> None:
    (tmp_path / "COMPLETE").write_text('{"weights": "0"}')
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "COMPLETE"):
        with pytest.raises(UsageError):
            require_sealed(folder)
