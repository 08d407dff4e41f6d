from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from untrigger.errors import InputRefused
from untrigger.models.json_file import read_object, regular_file, write_object

BROKEN = {
    "no JSON": b"{",
    "byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"a": "\xff"}',
    "NaN": b'{"a": NaN}',
    "infinity by overflow": b'{"a": 1e999}',
    "duplicate key": b'{"a": 1, "a": 2}',
    "nested duplicate key": b'{"x": [{"a": 1, "a": 2}]}',
    "deep nesting": b'{"a": ' + b"[" * 1_000_000,
    "huge integer": b'{"a": ' + b"9" * 10_000 + b"}",
    "a list": b"[]",
    "empty": b"",
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_bad_input_15_broken_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=r"config\.json"):
        read_object(path)


def test_bad_input_15_a_large_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"")
    os.truncate(path, 500_000_000)
    with pytest.raises(InputRefused, match="500000000 bytes"):
        read_object(path)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_written_objects_are_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_object(path, value)
    assert read_object(path) == value


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b"])
def test_bad_input_9_names_with_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputRefused):
        regular_file(tmp_path, name)


def test_bad_input_36_a_pipe_a_loop_and_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    for name in ("pipe", "loop", "link", "missing"):
        with pytest.raises(InputRefused, match=name):
            regular_file(folder, name)


def test_a_link_to_the_blobs_of_a_hub_snapshot_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / "0" / "."
    folder.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_text("{}")
    (folder / "config.json").symlink_to(Path("../../blobs/abc"))
    assert read_object(folder / "config.json") == {}


def test_bad_input_36_a_name_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2Jb\n.json"
    path.write_text("[]")
    with pytest.raises(InputRefused) as caught:
        read_object(path)
    assert "\x1b" not in caught.value.line() and "\n" not in caught.value.line()
