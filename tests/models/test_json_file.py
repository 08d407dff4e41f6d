from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from untrigger.errors import InputRefused
from untrigger.models.json_file import read_object, regular_file, write_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


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


def test_a_link_to_the_blobs_of_a_hub_snapshot_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / "0" / "."
    folder.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_text("{}")
    (folder / "config.json").symlink_to(Path("../../blobs/abc"))
    assert read_object(folder / "config.json") == {}
