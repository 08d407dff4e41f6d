from __future__ import annotations

import pytest

from tiny import tiny_architecture
from untrigger.config import AttackOptions, PurifyOptions, RepairOptions, TrainOptions, VariantOptions
from untrigger.models.architecture import ModelShape, describe
from untrigger.presets import default_options, effort_options, merged, paper_options, published_row


def architecture(model_type, layers, hidden):
    return describe(ModelShape(model_type, layers, hidden, 64, 32, 32, hidden // 32))


@pytest.mark.parametrize(
    ("model_type", "layers", "hidden", "ratios", "heads"),
    [
        ("llama", 32, 4096, (0.03, 0.35), (0, 0)),
        ("llama", 40, 5120, (0.08, 0.40), (0, 0)),
        ("mistral", 32, 4096, (0.08, 0.40), (2, 8)),
    ],
)
def test_the_published_table_is_recognised_by_sizes(model_type, layers, hidden, ratios, heads):
    found = architecture(model_type, layers, hidden)
    full, adapter = paper_options(found, "full"), paper_options(found, "adapter")
    assert (full.signature.ratio, adapter.signature.ratio) == ratios
    assert (full.signature.heads, adapter.signature.heads) == heads
    assert (full.repair.train.learning_rate, adapter.repair.train.learning_rate) == (1e-5, 2e-4)
    assert full.variants.pairs == 6 and full.signature.alignment_weight == 0.01
    assert not full.repair.inject and not full.repair.key_bearing


def test_another_model_has_no_published_row():
    assert published_row(tiny_architecture()) is None
    assert paper_options(tiny_architecture(), "full").signature.ratio == 0.03


def test_what_is_set_explicitly_wins_and_the_rest_is_kept():
    given = PurifyOptions(variants=VariantOptions(train=TrainOptions(epochs=7)))
    found = merged(default_options("adapter"), given)
    assert found.variants.train.epochs == 7
    assert found.variants.train.learning_rate == VariantOptions().train.learning_rate
    assert found.signature.ratio == default_options("adapter").signature.ratio != PurifyOptions().signature.ratio
    planting = merged(AttackOptions(), AttackOptions(train=TrainOptions(learning_rate=1e-4)))
    assert planting.train.epochs == AttackOptions().train.epochs != TrainOptions().epochs


def test_what_was_set_by_nobody_does_not_count_as_set():
    given = merged(PurifyOptions(), PurifyOptions(repair=RepairOptions(train=TrainOptions(epochs=7))))
    assert given.model_fields_set == {"repair"}
    assert given.repair.model_fields_set == {"train"}
    adapter = default_options("adapter")
    assert merged(adapter, given).signature == adapter.signature != given.signature
    assert merged(adapter, given).repair.train.epochs == 7


def test_planted_sentences_are_looked_for_in_both_settings_and_an_adapter_is_renewed_in_place_of_a_signature():
    further = {access: default_options(access).unlearning.further for access in ("adapter", "full")}
    assert further == {"adapter": "never", "full": "survived"}
    assert default_options("adapter").renewal.enable
    assert all(default_options(access).inversion.enable for access in further)


def test_an_effort_sets_options_beside_the_defaults():
    standard = default_options("adapter")
    assert merged(standard, effort_options("standard", "adapter")) == standard
    quick = merged(standard, effort_options("quick", "adapter"))
    assert quick.unlearning.words.beam == 0 and quick.unlearning.records == standard.unlearning.records
    thorough = merged(standard, effort_options("thorough", "adapter")).renewal
    assert thorough.remainder == thorough.unfound == 0 < standard.renewal.unfound < standard.renewal.remainder
    assert effort_options("thorough", "full").unlearning.model_fields_set == {"least_step", "price"}


def test_an_adapter_is_unlearned_as_a_whole_model_is():
    adapter, whole = (default_options(access).unlearning for access in ("adapter", "full"))
    own = {"through", "further", "attempts", "price", "train", "words"}  # no renewal follows in a whole model
    assert adapter.model_dump(exclude=own) == whole.model_dump(exclude=own)
    assert adapter.words.model_dump(exclude={"pieces"}) == whole.words.model_dump(exclude={"pieces"})
    assert whole.words.pieces > adapter.words.pieces == 0
    assert whole.through == "adapter" and whole.price > adapter.price == 1
    assert whole.train.last_blocks < adapter.train.last_blocks == 1
    assert whole.train.learning_rate > adapter.train.learning_rate
