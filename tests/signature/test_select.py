from __future__ import annotations

import pytest
import torch

from untrigger.config import SignatureOptions
from untrigger.errors import InputRefused, UntriggerError
from untrigger.models.architecture import ATTENTION_ROLES, MLP_ROLES, ModelShape, Role, describe
from untrigger.signature.dense import dense_gram
from untrigger.signature.select import ScoreTable, choose, score_table, select_signature

FORMS = ["sum", "product", "norm", "alignment", "rank", "zscore"]


def norm_grams(architecture, norms):
    """Gram matrices of one pair whose channels have these norms, by (layer, role)."""
    return {
        p: dense_gram([torch.tensor(norms[p.layer, p.role], dtype=torch.float64)[:, None]])
        for p in architecture.projections(*MLP_ROLES)
        if (p.layer, p.role) in norms
    }


def selected(signature):
    return {(p.layer, p.role): channels for p, channels in signature.channels.items()}


@pytest.fixture
def four():
    """Two blocks of four neurons."""
    return describe(ModelShape("llama", 2, 4, 4, 1, 1, 4))


@pytest.fixture
def uneven(four):
    """Norms whose module, layer and global tops all differ."""
    return norm_grams(
        four,
        {
            (0, Role.GATE): [1, 2, 3, 4],
            (0, Role.UP): [40, 30, 20, 10],
            (0, Role.DOWN): [5, 5, 6, 5],
            (1, Role.GATE): [900, 100, 100, 100],
            (1, Role.UP): [100, 901, 100, 100],
            (1, Role.DOWN): [100, 100, 102, 100],
        },
    )


def options(**fields):
    return SignatureOptions(form="norm", **{"ratio": 0.25, **fields})


def test_each_module_for_itself_takes_the_ratio_of_each_module(four, uneven):
    found = selected(select_signature(uneven, four, options(tie="module", scope="module")))
    assert found == {
        (0, Role.GATE): (3,),
        (0, Role.UP): (0,),
        (0, Role.DOWN): (2,),
        (1, Role.GATE): (0,),
        (1, Role.UP): (1,),
        (1, Role.DOWN): (2,),
    }


def test_layer_scope_lets_the_modules_of_a_block_compete_by_raw_score(four, uneven):
    found = selected(select_signature(uneven, four, options(tie="module", scope="layer")))
    assert found[0, Role.UP] == (0, 1, 2)
    assert found[0, Role.GATE] == found[0, Role.DOWN] == ()
    assert (found[1, Role.GATE], found[1, Role.UP], found[1, Role.DOWN]) == ((0,), (1,), (2,))


def test_global_scope_lets_all_blocks_compete(four, uneven):
    found = selected(select_signature(uneven, four, options(tie="module", scope="global")))
    assert found[0, Role.UP] == ()
    # int(24 * 0.25) = 6: 901, 900, 102, then three of the equal 100s, lowest first.
    assert (found[1, Role.GATE], found[1, Role.UP], found[1, Role.DOWN]) == ((0, 1, 2, 3), (1,), (2,))


def test_neurons_are_ranked_by_the_sum_of_scores_over_their_module_means(four, uneven):
    # Block 0: gate / 2.5 + up / 25 + down / 5.25 = 2.95, 2.95, 3.14, 2.95.
    found = selected(select_signature(uneven, four, options(tie="neuron")))
    assert found[0, Role.GATE] == found[0, Role.UP] == found[0, Role.DOWN] == (2,)
    assert found[1, Role.GATE] == found[1, Role.UP] == found[1, Role.DOWN] == (1,)


def test_for_neurons_module_and_layer_scope_coincide(four, uneven):
    by_module = select_signature(uneven, four, options(tie="neuron", scope="module"))
    assert by_module == select_signature(uneven, four, options(tie="neuron", scope="layer"))


def test_global_neurons_compete_over_blocks(four, uneven):
    found = selected(select_signature(uneven, four, options(tie="neuron", scope="global", ratio=0.25)))
    assert found[0, Role.GATE] == ()
    assert found[1, Role.GATE] == found[1, Role.DOWN] == (0, 1)


def test_a_silent_module_adds_nothing_to_its_neurons(four):
    grams = norm_grams(four, {(0, Role.GATE): [0, 0, 0, 0], (0, Role.UP): [1, 9, 1, 1], (0, Role.DOWN): [1, 1, 1, 1]})
    found = selected(select_signature(grams, four, options(tie="neuron")))
    assert found == dict.fromkeys(((0, role) for role in MLP_ROLES), (1,))


def test_many_equal_scores_go_to_the_lowest_indices():
    wide = describe(ModelShape("llama", 1, 4, 5000, 1, 1, 4))
    grams = norm_grams(wide, {(0, role): [1.0] * 5000 for role in MLP_ROLES})
    found = selected(select_signature(grams, wide, options(ratio=0.01)))
    assert found[0, Role.DOWN] == tuple(range(50))


@pytest.mark.parametrize(("ratio", "count"), [(0.01, 1), (0.25, 6), (0.29, 6), (0.3, 7), (0.99, 23)])
def test_the_count_is_rounded_down_but_at_least_one(tiny, draw, ratio, count):
    grams = {p: dense_gram(draw(p.layer, 2, 24, 5)) for p in tiny.projections(*MLP_ROLES)}
    signature = select_signature(grams, tiny, SignatureOptions(ratio=ratio))
    assert {len(channels) for channels in signature.channels.values()} == {count}


def test_equal_scores_go_to_the_lower_index(four):
    grams = norm_grams(four, {(0, role): [1, 2, 2, 2] for role in MLP_ROLES})
    found = selected(select_signature(grams, four, options(ratio=0.5)))
    assert found[0, Role.DOWN] == (1, 2)


def test_the_order_of_the_grams_is_irrelevant(tiny, draw):
    grams = {p: dense_gram(draw(n, 3, 24, 5)) for n, p in enumerate(tiny.projections(*MLP_ROLES))}
    backwards = dict(reversed(grams.items()))
    for tie in ("neuron", "module"):
        chosen = SignatureOptions(tie=tie, scope="global", ratio=0.2)
        assert select_signature(grams, tiny, chosen) == select_signature(backwards, tiny, chosen)


def test_the_order_of_a_score_table_is_irrelevant(four):
    grams = norm_grams(four, {(0, role): [1, 1, 1, 1] for role in MLP_ROLES})
    chosen = options(tie="module", scope="global", ratio=0.5)
    table = score_table(grams, four, chosen)
    backwards = ScoreTable(dict(reversed(table.channels.items())), {})
    found = selected(choose(backwards, four, chosen))
    assert found == {(0, Role.GATE): (0, 1, 2, 3), (0, Role.UP): (0, 1), (0, Role.DOWN): ()}


def test_a_plain_mlp_has_neurons_of_two_roles(draw):
    neox = describe(ModelShape("gpt_neox", 1, 4, 6, 1, 1, 4))
    grams = {p: dense_gram(draw(1, 2, 6, 4)) for p in neox.projections(*MLP_ROLES)}
    found = selected(select_signature(grams, neox, SignatureOptions(ratio=0.5)))
    assert set(found) == {(0, Role.UP), (0, Role.DOWN)}
    assert found[0, Role.UP] == found[0, Role.DOWN]
    assert len(found[0, Role.UP]) == 3


def test_an_adapter_without_mlp_modules_is_refused(tiny, draw):
    grams = {p: dense_gram(draw(1, 2, p.channels, 4)) for p in tiny.projections(*ATTENTION_ROLES)}
    with pytest.raises(InputRefused, match="holds no MLP module"):
        select_signature(grams, tiny, SignatureOptions())


def test_variants_that_equal_their_twins_have_no_signature(tiny):
    grams = {p: torch.zeros(24, 2, 2, dtype=torch.float64) for p in tiny.projections(*MLP_ROLES)}
    with pytest.raises(UntriggerError, match="equal their clean twins"):
        select_signature(grams, tiny, SignatureOptions())


def test_the_table_holds_what_was_scored(tiny, draw):
    grams = {p: dense_gram(draw(n, 3, 24, 5)) for n, p in enumerate(tiny.projections(*MLP_ROLES))}
    chosen = SignatureOptions(alignment_weight=0.5)
    table = score_table(grams, tiny, chosen)
    assert set(table.channels) == set(grams)
    for scores in table.channels.values():
        torch.testing.assert_close(scores.score, scores.strength + 0.5 * scores.alignment)
    assert choose(table, tiny, chosen) == select_signature(grams, tiny, chosen)
