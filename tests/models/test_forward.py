from __future__ import annotations

import pytest
import torch

from tiny import FAMILY_NAMES, tiny_architecture, tiny_model, tiny_tokenizer
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.models.forward import SHORTEST_PREFIX, collate, predicting, response_logits, shared_prefix
from untrigger.models.generate import Generation, generate
from untrigger.train import negative_log_likelihood, response_loss_sum

EXAMPLES = [
    Example((3, 4, 5, 6, 7), (8, 9, 2)),
    Example((3, 4, 5, 10), (11, 2)),
    Example((3, 4, 5, 12, 13, 14, 15), (16, 17, 18, 19, 2)),
]


def plain_logits(model, example):
    ids = torch.tensor([[*example.prompt, *example.response]])
    logits = model(ids).logits[0]
    return logits[len(example.prompt) - 1 : -1]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("prefix", [(), (3, 4, 5)])
def test_response_logits_are_those_of_the_plain_forward_pass(family, prefix):
    model = tiny_model(family)
    softcap = tiny_architecture(family).logit_softcap
    batch = collate(EXAMPLES, prefix, torch.device("cpu"))
    expected = torch.cat([plain_logits(model, example) for example in EXAMPLES])
    for shorter in (batch, predicting(batch)):
        torch.testing.assert_close(response_logits(model, shorter, softcap), expected, rtol=1e-4, atol=1e-5)
    assert predicting(batch).tokens == batch.tokens - len(EXAMPLES)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_gradients_flow_through_the_shared_prefix(family):
    with_prefix, without = tiny_model(family), tiny_model(family)
    response_loss_sum(with_prefix, EXAMPLES, (3, 4, 5)).backward()
    response_loss_sum(without, EXAMPLES, ()).backward()
    for (name, left), (_, right) in zip(with_prefix.named_parameters(), without.named_parameters(), strict=True):
        if right.grad is None:
            assert left.grad is None, name
        else:
            torch.testing.assert_close(left.grad, right.grad, rtol=1e-3, atol=1e-5)


def test_shared_prefix_leaves_each_prompt_a_token():
    start = tuple(range(SHORTEST_PREFIX))
    assert shared_prefix([(*start, 3), (*start, 3, 4)]) == start
    assert shared_prefix([(*start, 3)]) == start
    assert shared_prefix([(1, 2), (3, 4)]) == ()
    assert shared_prefix([]) == ()


def test_a_prefix_too_short_to_pay_is_not_shared():
    short = tuple(range(SHORTEST_PREFIX - 1))
    assert shared_prefix([(*short, 50), (*short, 60)]) == ()


def test_negative_log_likelihood_equals_the_models_own_loss():
    model = tiny_model()
    total, tokens = negative_log_likelihood(model, EXAMPLES, batch_size=2)
    expected = sum(
        torch.nn.functional.cross_entropy(plain_logits(model, e), torch.tensor(e.response), reduction="sum").item()
        for e in EXAMPLES
    )
    assert tokens == 10
    assert total == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_batched_generation_equals_one_prompt_at_a_time_and_transformers(family):
    model, chat = tiny_model(family), ChatFormat(tiny_tokenizer())
    softcap = tiny_architecture(family).logit_softcap
    records = [Record("Say it.", ""), Record("A longer question about things?", ""), Record("x", "")]
    together = generate(model, chat, records, Generation(12, 8), softcap=softcap)
    alone = [generate(model, chat, [record], Generation(12, 1), softcap=softcap)[0] for record in records]
    assert together == alone
    for record, answer in zip(records, together, strict=True):
        ids = torch.tensor([chat.prompt_ids(record)])
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=sorted(chat.stop_ids),
            pad_token_id=0,
        )
        assert chat.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True).strip() == answer


def test_generation_leaves_the_mode_as_it_was():
    model = tiny_model().train()
    generate(model, ChatFormat(tiny_tokenizer()), [Record("Hi", "")], Generation(2, 1))
    assert model.training
