from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hostile import entry, head, raw
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


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"holds no model\.safetensors"):
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


def test_a_header_in_any_order_of_keys_is_read(tmp_path: Path) -> None:
    header = head(b=entry([2], 4, 12), a=entry([1], 0, 4), c=entry([0, 3], 12, 12), __metadata__={"format": "pt"})
    (tmp_path / "model.safetensors").write_bytes(raw(header + b"  ", b"\0" * 12))
    assert {name: held.shape for name, held in open_weights(tmp_path).tensors.items()} == {
        "a": (1,),
        "b": (2,),
        "c": (0, 3),
    }
