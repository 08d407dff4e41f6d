from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from untrigger.config import SignatureOptions
from untrigger.errors import InputRefused, UntriggerError
from untrigger.signature.dense import dense_gram
from untrigger.signature.select import ScoreTable, choose, score_table
from untrigger.signature.store import load_scores, load_signature, save_signature
from untrigger.signature.types import Head, Signature


@pytest.fixture(params=["sum", "norm"])
def table(tiny, draw, request) -> ScoreTable:
    grams = {p: dense_gram(draw(n, 3, p.channels, 5)) for n, p in enumerate(tiny.projections())}
    return score_table(grams, tiny, SignatureOptions(form=request.param, heads=2))


@pytest.fixture
def signature(tiny, table) -> Signature:
    return choose(table, tiny, SignatureOptions(tie="module", scope="global", ratio=0.03, heads=2))


def test_round_trip(tmp_path: Path, signature, table):
    assert () in signature.channels.values()  # an empty set is a case of its own
    save_signature(tmp_path, signature, table)
    assert load_signature(tmp_path) == signature
    found = load_scores(tmp_path)
    assert list(found.channels) == list(table.channels)
    for projection, scores in table.channels.items():
        assert torch.equal(found.channels[projection].strength, scores.strength)
        assert torch.equal(found.channels[projection].alignment, scores.alignment)
        assert torch.equal(found.channels[projection].score, scores.score)
    assert list(found.heads) == [0, 1]
    assert all(torch.equal(found.heads[layer], scores) for layer, scores in table.heads.items())


def test_files_are_json_and_safetensors_with_small_indices(tmp_path: Path, signature):
    save_signature(tmp_path, signature)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signature.json", "signature.safetensors"]
    assert {tensor.dtype for tensor in load_file(tmp_path / "signature.safetensors").values()} == {torch.int32}
    assert load_scores(tmp_path).channels == {}


def test_heads_alone_round_trip(tmp_path: Path):
    save_signature(tmp_path, Signature({}, (Head(0, 3),)))
    assert load_signature(tmp_path) == Signature({}, (Head(0, 3),))


def test_saving_again_replaces(tmp_path: Path, signature):
    save_signature(tmp_path, Signature({}, (Head(0, 3),)))
    save_signature(tmp_path, signature)
    assert load_signature(tmp_path) == signature


@pytest.mark.parametrize("bad", [[3, 1], [1, 1], [-1, 2], [0, 24]])
def test_indices_out_of_order_or_range_are_refused(tmp_path: Path, tiny, bad):
    gate = tiny.layers[0][0]
    save_signature(tmp_path, Signature({gate: (0, 1)}))
    save_file({"0.gate.channels": torch.tensor(bad, dtype=torch.int32)}, tmp_path / "signature.safetensors")
    with pytest.raises(InputRefused, match=r"not ascending within 0\.\.23"):
        load_signature(tmp_path)


def test_wrong_type_of_indices_is_refused(tmp_path: Path, tiny):
    save_signature(tmp_path, Signature({tiny.layers[0][0]: (0, 1)}))
    save_file({"0.gate.channels": torch.tensor([0.0, 1.0])}, tmp_path / "signature.safetensors")
    with pytest.raises(InputRefused, match=r"vector of torch\.int32"):
        load_signature(tmp_path)


def test_unknown_fields_are_refused(tmp_path: Path, signature):
    save_signature(tmp_path, signature)
    document = json.loads((tmp_path / "signature.json").read_text())
    (tmp_path / "signature.json").write_text(json.dumps({**document, "extra": 1}))
    with pytest.raises(InputRefused, match="not a signature"):
        load_signature(tmp_path)


def test_broken_tensors_are_refused(tmp_path: Path, signature):
    save_signature(tmp_path, signature)
    (tmp_path / "signature.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(InputRefused, match="not a signature"):
        load_signature(tmp_path)


def test_a_missing_folder_says_so(tmp_path: Path, signature):
    with pytest.raises(UntriggerError, match="no signature can be read"):
        load_signature(tmp_path / "absent")
    with pytest.raises(UntriggerError, match=r"cannot be written|cannot write"):
        save_signature(tmp_path / "absent", signature)


@pytest.mark.parametrize("field", ["start", "stop"])
def test_places_beyond_any_matrix_are_refused(tmp_path: Path, tiny, field):
    save_signature(tmp_path, Signature({tiny.layers[0][0]: (0, 1)}))
    document = json.loads((tmp_path / "signature.json").read_text())
    document["projections"][0][field] = 2**70
    (tmp_path / "signature.json").write_text(json.dumps(document))
    with pytest.raises(InputRefused, match="not a signature"):
        load_signature(tmp_path)
