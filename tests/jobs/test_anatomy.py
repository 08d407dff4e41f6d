from __future__ import annotations

import json

import pytest
import torch

from tiny import tiny_architecture
from untrigger.config import SignatureOptions
from untrigger.errors import UsageError
from untrigger.jobs.anatomy import anatomy
from untrigger.models.architecture import MLP_ROLES
from untrigger.report.anatomy import AnatomyResult
from untrigger.signature.dense import dense_gram
from untrigger.signature.overlap import stability
from untrigger.signature.select import choose, score_table
from untrigger.signature.store import save_signature


@pytest.fixture
def stored(tmp_path):
    """A signature of random deltas by seed, in a folder or in a run folder."""

    def save(seed: int, stage: str = "") -> str:
        architecture, options = tiny_architecture(), SignatureOptions(ratio=0.25)
        generator = torch.Generator().manual_seed(seed)
        grams = {
            p: dense_gram(torch.randn(3, p.channels, 5, generator=generator, dtype=torch.float64))
            for p in architecture.projections(*MLP_ROLES)
        }
        table = score_table(grams, architecture, options)
        folder = tmp_path / f"s{seed}" / stage
        folder.mkdir(parents=True)
        chosen = choose(table, architecture, options)
        save_signature(folder, chosen, table, stability(chosen, grams, architecture, options))
        return tmp_path / f"s{seed}"

    return save


def test_signatures_are_counted_and_compared_two_by_two(tmp_path, stored):
    found = anatomy([stored(0), stored(1, "signature"), stored(2)], tmp_path / "out")
    assert [one.name for one in found.signatures] == [str(tmp_path / f"s{seed}") for seed in range(3)]
    assert [(one.first, one.second) for one in found.overlaps] == [(1, 2), (1, 3), (2, 3)]
    places = {(count.layer, count.role): (count.selected, count.channels) for count in found.signatures[0].counts}
    assert places[0, "gate"] == places[1, "down"] == (6, 24)
    assert all(one.expected_shared == pytest.approx(6 * 6 / 24 * 6) for one in found.overlaps)
    assert all(one.spearman is not None and abs(one.spearman) < 0.9 for one in found.overlaps)
    assert AnatomyResult.from_json((tmp_path / "out" / "signatures.json").read_text()) == found
    lines = (tmp_path / "out" / "signatures.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 6 and lines[1] == "1,0,gate,6,24"
    assert "| 0 | 6 (25.0 %) |" in (tmp_path / "out" / "signatures.md").read_text()
    (step,) = found.signatures[0].stability
    assert (step.pairs, step.expected_jaccard) == (2, pytest.approx(1 / 7)) and 0 < step.jaccard < 1
    assert f"| 2 | {step.jaccard:.3f} | 0.143 |" in (tmp_path / "out" / "signatures.md").read_text()


def test_a_signature_agrees_with_itself(tmp_path, stored):
    folder = stored(0)
    (one,) = anatomy([folder, folder], tmp_path / "out").overlaps
    assert one.jaccard == 1 and one.spearman == pytest.approx(1)


def test_a_folder_without_a_signature_is_named(tmp_path, stored):
    with pytest.raises(UsageError, match=r"nothing holds no signature.*--keep-run"):
        anatomy([stored(0), tmp_path / "nothing"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_kept(tmp_path, stored):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        anatomy([stored(0)], tmp_path / "out")
    assert json.dumps(list((tmp_path / "out").iterdir())) == "[]"
