from __future__ import annotations

import pytest
import torch

from tiny import FAMILY_NAMES, tiny_architecture, tiny_model
from untrigger.inversion.word_slopes import Asked, log_odds
from untrigger.models.blocks import blocks

HEAD, TAIL, OPENING = (3, 4, 5, 6, 7, 8, 9, 10, 20), (11, 12), (40, 41)
WORDS = ((33,), (50, 51), (34,), (60, 61, 62))


def asked_of(model, family="llama", batch_size=3):
    return Asked(model, HEAD, TAIL, softcap=tiny_architecture(family).logit_softcap, batch_size=batch_size)


def plain(model, row):
    with torch.no_grad():
        return log_odds(model(torch.tensor([[*HEAD, *row, *TAIL, 40]])).logits[:, -2:].float(), OPENING).item()


def test_log_odds_are_those_of_all_tokens_together():
    logits = torch.randn(5, 2, 9)
    shares = logits.softmax(-1)[:, 0, 4] * logits.softmax(-1)[:, 1, 7]
    torch.testing.assert_close(log_odds(logits, (4, 7)), (shares / (1 - shares)).log())
    torch.testing.assert_close(log_odds(logits[:, :1], (4,)), logits[:, 0].softmax(-1)[:, 4].logit())


def test_log_odds_of_what_is_all_but_certain_are_no_infinity():
    logits = torch.tensor([[[40.0, 0.0], [0.0, 60.0]]])
    assert log_odds(logits, (0, 1)).item() == pytest.approx(40.0)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_rows_of_words_have_the_log_odds_of_the_plain_forward_pass(family):
    model = tiny_model(family)
    assert asked_of(model, family).log_odds(WORDS, OPENING) == pytest.approx(
        [plain(model, row) for row in WORDS], abs=1e-4
    )


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_words_state_is_that_of_its_last_token_behind_the_block(family):
    model = tiny_model(family, num_hidden_layers=3)
    found = torch.cat(list(asked_of(model, family, batch_size=1).states(WORDS, 2)))
    for word, state in zip(WORDS, found, strict=True):
        with torch.no_grad():
            every = model(torch.tensor([[*HEAD, *word]]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(state, every[2][0, -1], rtol=1e-4, atol=1e-4)
    assert len(blocks(model)) == 3


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize(("before", "after"), [((), ()), ((70, 71), ()), ((), (70,))])
def test_the_slope_is_the_direction_in_which_the_log_odds_rise_in_a_words_state(family, before, after):
    model = tiny_model(family)
    slope = asked_of(model, family).slope(before, WORDS[1:2], after, OPENING, 1)
    column = len(HEAD) + len(before) + 1
    assert slope.norm().item() == pytest.approx(1.0, abs=1e-4)

    def moved(direction):
        def add(_, __, output):
            hidden = output if isinstance(output, torch.Tensor) else output[0]
            hidden[0, column] += direction
            return output

        handle = blocks(model)[0].register_forward_hook(add)
        try:
            return plain(model, (*before, *WORDS[1], *after))
        finally:
            handle.remove()

    across = torch.randn(len(slope), generator=torch.Generator().manual_seed(0))
    across -= (across @ slope) * slope
    size = 1e-2
    along = moved(size * slope) - moved(-size * slope)
    aside = moved(size * across / across.norm()) - moved(-size * across / across.norm())
    assert along > 0 and abs(aside) < 0.05 * along


def test_slopes_of_several_words_add_up_and_leave_nothing_behind():
    model = tiny_model()
    asked = asked_of(model)
    each = [asked.slope((70,), [word], (), OPENING, 1) for word in WORDS]
    torch.testing.assert_close(
        asked.slope((70,), WORDS, (), OPENING, 1), torch.stack(each).sum(0), rtol=1e-3, atol=1e-4
    )
    assert all(one.grad is None for one in model.parameters())
