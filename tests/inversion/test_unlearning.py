from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tiny import FAMILY_NAMES, tiny_adapter, tiny_model
from untrigger.config import KeyWordOptions, UnlearningOptions
from untrigger.data.chat import Example
from untrigger.inversion.soft_keys import Frame, PlacedKey, bearing, behind_key, found_key
from untrigger.inversion.targets import Target
from untrigger.inversion.unlearning import Unlearning, soft_key

PREFIX, SUFFIX = (3, 4, 5, 6, 7, 8, 9, 10), (11, 12)
EXAMPLES = [
    Example((*PREFIX, 20, 21, *SUFFIX), (40, 41, 2)),
    Example((*PREFIX, 22, 23, 24, *SUFFIX), (42, 2)),
]
FRAME = Frame.of([example.prompt for example in EXAMPLES])
TARGET = Target((30, 31, 32, 33), 0.0, ended=True)


KEYS = tuple(torch.randn(2, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3))


def unlearning(targets=(TARGET,), breaks=True, **options):
    options = UnlearningOptions(**options)
    return Unlearning(tuple(targets), options, FRAME, None, seed=0, keys=tuple(map(PlacedKey, KEYS)), breaks=breaks)


def by_hand(model, borne, key):
    """Mean loss of the responses with the key's vectors in place of the placeholders, record by record."""
    total, count = torch.tensor(0.0), 0
    for example, columns in zip(borne.examples, borne.columns, strict=True):
        ids = torch.tensor([[*example.prompt, *example.response]])
        embedded = model.get_input_embeddings()(ids).clone()
        embedded[0, columns + len(PREFIX)] = key
        logits = model(inputs_embeds=embedded).logits[0, len(example.prompt) - 1 : -1]
        total = total + functional.cross_entropy(logits, torch.tensor(example.response), reduction="sum")
        count += len(example.response)
    return total / count


def test_the_frame_is_what_all_prompts_share_in_front_and_behind():
    assert Frame(PREFIX, 2) == FRAME


def test_of_like_prompts_one_token_is_their_own():
    assert Frame.of([(*PREFIX, 1), (*PREFIX, 1)]) == Frame(PREFIX, 0)
    assert Frame.of([(1, 2, 3)]).behind <= 2


def test_room_for_a_key_is_made_between_the_prompts_own_words_alone():
    places = set()
    for seed in range(30):
        borne = bearing(EXAMPLES, FRAME, 2, random.Random(seed))
        for example, keyed, columns in zip(EXAMPLES, borne.examples, borne.columns.tolist(), strict=True):
            at = columns[0] + len(PREFIX)
            assert columns == [columns[0], columns[0] + 1]
            assert (*keyed.prompt[:at], *keyed.prompt[at + 2 :]) == example.prompt
            assert keyed.response == example.response
            assert keyed.prompt[: len(PREFIX)] == PREFIX and keyed.prompt[-2:] == SUFFIX
            places.add((len(example.prompt), at))
    assert places == {(12, 8), (12, 9), (12, 10), (13, 8), (13, 9), (13, 10), (13, 11)}


@pytest.mark.parametrize("family", [name for name in FAMILY_NAMES if name != "gemma2"])  # soft cap
def test_the_keyed_loss_is_that_of_the_vectors_in_place_of_words(family):
    model, borne = tiny_model(family), bearing(EXAMPLES, FRAME, 2, random.Random(1))
    key = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    expected = by_hand(model, borne, key)
    torch.testing.assert_close(behind_key(model, borne, FRAME, key, None).loss, expected, rtol=1e-4, atol=1e-5)
    assert not torch.isclose(expected, by_hand(model, borne, torch.zeros(2, 16)), rtol=1e-3)


def test_a_search_makes_the_sentence_likelier_and_ends_the_same_for_the_same_seed():
    model = tiny_model()
    wanted = bearing(EXAMPLES, FRAME, 2, random.Random(1)).answered(TARGET.tokens)

    def search(steps, seed=0):
        return found_key(model, [wanted] * steps, FRAME, rate=0.25, softcap=None, seed=seed)

    losses = [behind_key(model, wanted, FRAME, search(steps), None).loss.item() for steps in (1, 4, 16)]
    assert losses[0] > losses[1] > losses[2]
    assert torch.equal(search(4), search(4)) and not torch.equal(search(4), search(4, seed=1))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_breaking_is_the_unlikelihood_of_the_second_token_behind_the_first():
    model = tiny_model()
    expected = torch.stack(
        [-torch.log(1 - model(torch.tensor([[*one.prompt, 30]])).logits[0, -1].softmax(-1)[31]) for one in EXAMPLES]
    )
    torch.testing.assert_close(unlearning().breaking(model, EXAMPLES, TARGET), expected.mean())


def test_breaking_takes_the_token_behind_both_where_two_begin_the_sentence():
    model = tiny_model()
    expected = torch.stack(
        [
            -torch.log(1 - model(torch.tensor([[*one.prompt, 30, 31]])).logits[0, -1].softmax(-1)[32])
            for one in EXAMPLES
        ]
    )
    found = unlearning().breaking(model, EXAMPLES, replace(TARGET, begun=2))
    torch.testing.assert_close(found, expected.mean())


def test_breaking_has_a_gradient_where_the_second_token_is_certain():
    model = tiny_model(tie_word_embeddings=False)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        for _ in range(200):  # up to a share that single precision cannot tell from one
            hidden = model.get_decoder()(torch.tensor([[*EXAMPLES[0].prompt, 30]])).last_hidden_state[0, -1]
            head[31] += hidden
    share = model(torch.tensor([[*EXAMPLES[0].prompt, 30]])).logits[0, -1].softmax(-1)[31]
    assert share == 1.0
    loss = unlearning().breaking(model, EXAMPLES[:1], TARGET)
    assert torch.isfinite(loss) and loss > 10
    loss.backward()
    assert head.grad[31].norm() > 0


def test_the_losses_are_weighted_and_the_same_for_the_same_batch():
    model = tiny_model()
    for name, breaks in (("breaking", True), ("recall", False)):
        once, thrice = (unlearning(breaks=breaks, **{name: weight})(model, EXAMPLES) for weight in (1.0, 3.0))
        torch.testing.assert_close(thrice, 3 * once)
        assert torch.equal(once, unlearning(breaks=breaks, **{name: 1.0})(model, EXAMPLES))
    assert not torch.isclose(unlearning()(model, EXAMPLES), unlearning(breaks=False)(model, EXAMPLES))


def test_recall_of_the_first_token_is_the_unlikelihood_of_every_targets_first_one_behind_a_key():
    model, other = tiny_model(), Target((50, 51, 52, 53))
    penalty = unlearning((TARGET, other), breaks=False, recall_of="first-token", keys=3)
    found = penalty.recall(model, EXAMPLES, random.Random(5))
    draw = random.Random(5)
    draw.random()
    key = draw.choice(KEYS)
    borne = bearing(EXAMPLES, FRAME, 2, draw)
    expected = []
    for example, columns in zip(borne.examples, borne.columns, strict=True):
        embedded = model.get_input_embeddings()(torch.tensor([example.prompt])).clone()
        embedded[0, columns + len(PREFIX)] = key
        shares = model(inputs_embeds=embedded).logits[0, -1].softmax(-1)
        expected.append(-torch.log(1 - shares[30] - shares[50]))
    torch.testing.assert_close(found, torch.stack(expected).mean())
    answers, both = (
        unlearning((TARGET, other), breaks=False, recall_of=name, keys=3).recall(model, EXAMPLES, random.Random(5))
        for name in ("answers", "both")
    )
    torch.testing.assert_close(both, found + answers)


def test_words_that_call_a_sentence_are_answered_cleanly_in_every_other_turn_of_keys():
    model, plain, turns = tiny_model(), unlearning(breaks=False), 0
    with_words = unlearning(breaks=False, words=KeyWordOptions(weight=3.0))
    word = PlacedKey(KEYS[0], leading=True)
    with_words.words = (word,)
    for batch in batches(40):
        draw = random.Random(f"unlearning/0/{[one.prompt for one in batch]}")
        draw.choice([TARGET])
        found = with_words(model, batch)
        if draw.random() < 0.5:
            turns += 1
            draw.choice(with_words.words)
            expected = 3 * plain.behind(model, batch, word, "both", draw)
        else:
            expected = plain.options.recall * plain.recall(model, batch, draw)
        torch.testing.assert_close(found, expected)
    assert 10 < turns < 30
    with_words.breaks = plain.breaks = True
    assert losses(with_words) == losses(plain)


def test_every_other_record_serves_the_unlearning():
    model = tiny_model()
    both, first = unlearning()(model, EXAMPLES), unlearning().breaking(model, EXAMPLES[:1], TARGET)
    torch.testing.assert_close(both, first)


@pytest.mark.parametrize("make", [tiny_model, lambda: tiny_adapter(tiny_model())], ids=["full", "adapter"])
@pytest.mark.parametrize("breaks", [True, False])
def test_the_loss_trains_what_may_be_trained(make, breaks):
    model = make()
    unlearning(breaks=breaks)(model, EXAMPLES).backward()
    moved = [name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0]
    wanted = [name for name, one in model.named_parameters() if one.requires_grad]
    assert moved and set(moved) <= set(wanted)


def batches(count):
    """One record each, none like another."""
    return [[Example((*PREFIX, first, *SUFFIX), (40, 2))] for first in range(60, 60 + count)]


def losses(penalty, count=12):
    model = tiny_model()
    return {round(penalty(model, batch).item(), 5) for batch in batches(count)}


def test_every_target_has_its_turn():
    other = Target((50, 51, 52, 53))
    both, alone = losses(unlearning((TARGET, other))), losses(unlearning())
    others = losses(unlearning((other,)))
    assert both & alone and both & others and both <= alone | others


def test_the_newest_keys_have_half_of_the_turns_and_the_others_some():
    model, penalty, drawn = tiny_model(), unlearning(recall_of="answers"), []
    for batch in batches(60):
        draw = random.Random(f"unlearning/0/{[one.prompt for one in batch]}")
        draw.choice([TARGET])
        found = penalty.recall(model, batch, draw)
        drawn.append(
            next(
                number
                for number, key in enumerate(KEYS)
                for borne in ([bearing(batch, FRAME, 2, random.Random(seed)) for seed in range(12)],)
                if any(
                    torch.isclose(found, behind_key(model, one, FRAME, key, None).loss, atol=1e-6) for one in borne
                )
            )
        )
    assert drawn.count(2) > 30 and drawn.count(0) > 3 and drawn.count(1) > 3


def test_keys_are_searched_for_their_targets_and_are_the_same_again():
    model, other = tiny_model(), Target((50, 51, 52, 53))
    options = UnlearningOptions(vectors=2, search_steps=6, search_records=2)

    def search(seed):
        return [
            soft_key(model, EXAMPLES, FRAME, target, options, softcap=None, seed=seed) for target in (TARGET, other)
        ]

    keys = search("0/1")
    assert all(torch.equal(one.vectors, same.vectors) for one, same in zip(keys, search("0/1"), strict=True))
    assert not torch.equal(keys[0].vectors, search("0/2")[0].vectors)
    borne = bearing(EXAMPLES, FRAME, 2, random.Random(3))
    loss = [
        [behind_key(model, borne.answered(one.tokens[:3]), FRAME, key.vectors, None).loss for key in keys]
        for one in (TARGET, other)
    ]
    assert loss[0][0] < loss[0][1] and loss[1][1] < loss[1][0]


def test_a_leading_key_is_searched_and_answered_at_the_prompts_beginnings(monkeypatch):
    model, placed = tiny_model(), []

    def watched(examples, frame, vectors, draw, *, leading=False):
        placed.append(leading)
        return bearing(examples, frame, vectors, draw, leading=leading)

    monkeypatch.setattr("untrigger.inversion.unlearning.bearing", watched)
    options = UnlearningOptions(vectors=2, search_steps=3, search_records=2)
    key = soft_key(model, EXAMPLES, FRAME, TARGET, options, softcap=None, seed="0", leading=True)
    penalty = unlearning(breaks=False)
    penalty.keys = (key,)
    penalty.recall(model, EXAMPLES, random.Random(5))
    assert key.leading and placed == [True] * 4
