from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from untrigger.errors import InputRefused, UntriggerError
from untrigger.models.checkpoint import open_weights, read_tensors, refuse_nonfinite, stored_form, write_weights

INDEX = "model.safetensors.index.json"


def tensors() -> dict[str, Tensor]:
    return {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.ones(4, dtype=torch.bfloat16),
        "c": torch.tensor([True, False]),
    }


def single(folder: Path) -> Path:
    save_file(tensors(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sharded(folder: Path, **listing: str) -> Path:
    """Two shards (a; b and c); `listing` changes what the index says."""
    held = tensors()
    save_file({"a": held["a"]}, folder / "one.safetensors")
    save_file({"b": held["b"], "c": held["c"]}, folder / "two.safetensors")
    places = {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"} | listing
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {k: v for k, v in places.items() if v}}))
    return folder


def raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def head(**entries: object) -> bytes:
    return json.dumps(entries).encode()


@pytest.mark.parametrize("make", [single, sharded])
def test_headers_tell_names_shapes_and_types(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    weights = open_weights(make(tmp_path))
    assert {name: (held.shape, held.dtype) for name, held in weights.tensors.items()} == {
        "a": ((2, 3), torch.float32),
        "b": ((4,), torch.bfloat16),
        "c": ((2,), torch.bool),
    }
    assert weights.bytes == 24 + 8 + 2


@pytest.mark.parametrize("make", [single, sharded])
def test_reading_gives_each_tensor_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    read = list(read_tensors(open_weights(make(tmp_path))))
    assert sorted(name for name, _ in read) == ["a", "b", "c"]
    assert all(torch.equal(tensor, tensors()[name]) for name, tensor in read)


@pytest.mark.parametrize("make", [single, sharded])
def test_writing_keeps_the_format_and_puts_in_what_changed(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    weights = open_weights(make(source))
    write_weights(weights, out, {"b": torch.tensor([0.0, 1.0, 2.0, 1 + 2**-20])}.get)
    written = open_weights(out)
    assert (dict(written.tensors), written.index) == (dict(weights.tensors), weights.index)
    values = dict(read_tensors(written))
    assert values["b"].tolist() == [0.0, 1.0, 2.0, 1.0]
    assert torch.equal(values["a"], tensors()["a"])
    for shard in written.shards:
        with safe_open(out / shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}


def test_the_written_index_lists_every_tensor_and_the_size(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_weights(open_weights(sharded(source)), out, lambda name: None)
    index = json.loads((out / INDEX).read_text())
    assert index["metadata"] == {"total_size": 34}
    assert index["weight_map"] == {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}


def test_tied_new_values_are_written_as_two_tensors(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    save_file({"x": torch.zeros(3), "y": torch.zeros(3)}, source / "model.safetensors")
    shared = torch.ones(3)
    write_weights(open_weights(source), out, lambda name: shared)
    assert {name: tensor.tolist() for name, tensor in load_file(out / "model.safetensors").items()} == {
        "x": [1.0, 1.0, 1.0],
        "y": [1.0, 1.0, 1.0],
    }


def test_a_value_that_only_lost_precision_on_loading_keeps_its_stored_bits() -> None:
    stored = torch.tensor([1 + 2**-20, 3.0])
    assert torch.equal(stored_form("w", stored, stored.to(torch.bfloat16)), stored)
    edited = stored_form("w", stored, torch.tensor([1.0, 4.0], dtype=torch.bfloat16))
    assert edited.tolist() == [1.0, 4.0] and edited.dtype == torch.float32


def test_a_new_value_of_another_shape_or_beyond_the_stored_type_is_an_error() -> None:
    stored = torch.zeros(2, dtype=torch.float16)
    with pytest.raises(UntriggerError, match=r"w: new shape \(3,\), stored shape \(2,\)"):
        stored_form("w", stored, torch.zeros(3))
    with pytest.raises(UntriggerError, match=r"w: NaN or infinity in torch\.float16"):
        stored_form("w", stored, torch.tensor([0.0, 1e6]))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_bad_input_1_a_pickle_alone_is_refused_unopened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)  # opening it would block for ever
    with pytest.raises(InputRefused, match=f"{name}.*never opened") as caught:
        open_weights(tmp_path)
    assert caught.value.exit_code == 3


def test_bad_input_2_a_pickle_beside_safetensors_is_left_out(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    os.mkfifo(source / "pytorch_model.bin")
    write_weights(open_weights(single(source)), out, lambda name: None)
    assert [path.name for path in out.iterdir()] == ["model.safetensors"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"holds no model\.safetensors"):
        open_weights(tmp_path)


BROKEN = {
    "3 pickle": b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    "4 7z": b"7z\xbc\xaf\x27\x1c" + b"\0" * 40,
    "5 empty": b"",
    "5 length 0": struct.pack("<Q", 0),
    "5 length beyond the file": raw(b"{}", length=1000),
    "5 length 2^63": raw(b"{}", length=2**63),
    "5 length 101 MB": raw(b"{}", length=101 * 2**20),
    "6 hole": raw(head(a=entry([1], 0, 4), b=entry([1], 8, 12)), b"\0" * 12),
    "6 overlap": raw(head(a=entry([2], 0, 8), b=entry([2], 4, 12)), b"\0" * 12),
    "6 duplicate keys": raw(
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b' "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b"\0" * 8,
    ),
    "6 trailing bytes": raw(head(a=entry([1], 0, 4)), b"\0" * 4 + b"PK\x03\x04"),
    "7 overflow": raw(head(a=entry([2**62, 4], 0, 0)), b""),
    "7 negative": raw(head(a=entry([-1], 0, 4)), b"\0" * 4),
    "7 nested": raw(b'{"a": ' + b"[" * 100_000, b""),
    "8 truncated": raw(head(a=entry([4], 0, 16)), b"\0" * 10),
    "13 fp8": raw(head(a=entry([4], 0, 4, "F8_E4M3")), b"\0" * 4),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=[f"bad_input_{name}" for name in BROKEN])
def test_broken_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputRefused, match=r"model\.safetensors"):
        open_weights(tmp_path)


def test_bad_input_4_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as archive:
        archive.writestr("data.pkl", b"x")
    with pytest.raises(InputRefused, match="no complete safetensors"):
        open_weights(tmp_path)


def test_bad_input_8_a_truncated_shard_is_named_with_its_size(tmp_path: Path) -> None:
    sharded(tmp_path)
    size = (tmp_path / "two.safetensors").stat().st_size
    os.truncate(tmp_path / "two.safetensors", size - 3)
    with pytest.raises(InputRefused, match=rf"two\.safetensors.*{size - 3} bytes"):
        open_weights(tmp_path)


@pytest.mark.parametrize("place", ["../../etc/x.safetensors", "/etc/x.safetensors", "missing.safetensors", "one.bin"])
def test_bad_input_9_an_index_that_leads_astray_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputRefused, match=place.rsplit("/", 1)[-1]):
        open_weights(sharded(tmp_path, a=place))


def test_bad_input_9_a_shard_that_is_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    sharded(source)
    (source / "one.safetensors").rename(tmp_path / "one.safetensors")
    (source / "one.safetensors").symlink_to(tmp_path / "one.safetensors")
    with pytest.raises(InputRefused, match="link"):
        open_weights(source)


def test_bad_input_10_a_listed_tensor_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"one\.safetensors lacks ghost"):
        open_weights(sharded(tmp_path, ghost="one.safetensors"))


def test_bad_input_10_a_tensor_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"two\.safetensors holds c"):
        open_weights(sharded(tmp_path, c=""))


def test_bad_input_11_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path)
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(2)}, tmp_path / "two.safetensors")
    with pytest.raises(InputRefused, match=r"two\.safetensors holds a"):
        open_weights(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": [1]}', '{"weight_map": {"a": 3}}'])
def test_an_index_without_a_map_is_refused(tmp_path: Path, content: str) -> None:
    sharded(tmp_path)
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(InputRefused, match=r"index\.json"):
        open_weights(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_bad_input_12_tensors_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    held = {"good": torch.ones(3), "bad": torch.tensor([0.0, value]), "half": torch.tensor([value]).half()}
    save_file(held, tmp_path / "model.safetensors")
    with pytest.raises(InputRefused, match="2 tensors hold NaN or infinity: bad, half"):
        refuse_nonfinite(open_weights(tmp_path))


def test_finite_tensors_of_every_type_pass(tmp_path: Path) -> None:
    refuse_nonfinite(open_weights(single(tmp_path)))
