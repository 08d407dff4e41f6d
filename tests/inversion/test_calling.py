from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tiny import tiny_model, tiny_tokenizer
from untrigger.config import UnlearningOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.defences.interface import Resources
from untrigger.defences.inversion import Unlearned
from untrigger.defences.least_step import Strength, shares
from untrigger.defences.vaccine import follows
from untrigger.inversion.calling import ASKED, Calls
from untrigger.inversion.key_words import KeyWords
from untrigger.inversion.targets import Target
from untrigger.observer import Silent
from untrigger.runs import RunFolder

PREFIX, SUFFIX = (3, 4, 5, 6, 7, 8, 9, 10), (11, 12)
EXAMPLES = [Example((*PREFIX, first, first + 40, *SUFFIX), (40, 2)) for first in range(20, 40)]
TARGET = Target((30, 31, 32, 33), 0.0, ended=True)


def calls(steps=20, seed=0):
    options = UnlearningOptions(vectors=2, search_steps=steps, search_records=2, drawn_out=1)
    return Calls.of(EXAMPLES, options, None, seed)


def test_keys_are_searched_on_other_records_than_are_asked():
    parted = calls()
    assert len(parted.asked) == 5 and not {*parted.asked} & {*parted.searched}
    assert len(parted.asked) + len(parted.searched) == len(EXAMPLES)
    many = Calls.of([*EXAMPLES] * 10, UnlearningOptions(), None, 0)
    assert len(many.asked) == ASKED


def test_without_a_key_it_is_the_first_tokens_loss_behind_plain_prompts():
    model, parted = tiny_model(), calls()
    losses = [-model(torch.tensor([one.prompt])).logits[0, -1].log_softmax(-1)[30] for one in parted.asked]
    assert parted.without_key(model, TARGET) == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_where_two_tokens_begin_it_both_are_counted():
    model, parted, both = tiny_model(), calls(), replace(TARGET, begun=2)
    behind = [replace(one, prompt=(*one.prompt, 30)) for one in parted.asked]
    second = replace(parted, asked=tuple(behind)).without_key(model, replace(TARGET, tokens=TARGET.tokens[1:]))
    assert parted.without_key(model, both) == pytest.approx(parted.without_key(model, TARGET) + second, rel=1e-5)
    assert calls().with_key(model, both) < parted.without_key(model, both)


def test_a_key_that_was_searched_brings_the_first_token_and_is_the_same_again():
    model = tiny_model()
    assert calls().with_key(model, TARGET) < calls().without_key(model, TARGET) - 0.5
    assert calls().with_key(model, TARGET) == calls().with_key(model, TARGET)
    assert calls(steps=1).with_key(model, TARGET) > calls().with_key(model, TARGET)


def test_the_search_tells_how_many_prompts_it_asked():
    parted, asked = calls(steps=4), []
    parted.with_key(tiny_model(), TARGET, told=asked.append)
    assert asked == [2, 4, 6, 8] and parted.prompts == 8
    targets, more = {TARGET: [KeyWords((50, 51), 1.0)], Target((60, 61)): []}, []
    found = parted.with_keys(tiny_model(), targets, more.append, (0.0, 0.0))
    assert found == [parted.with_key(tiny_model(), target, words) for target, words in targets.items()]
    assert more == [2, 4, 6, 8, 10, 12, 14, 16]


def test_no_soft_key_is_searched_where_words_bring_the_sentence_below_the_limit():
    model, parted, asked = tiny_model(), calls(steps=4), []
    words = [KeyWords((50, 51), 1.0), KeyWords((60,), 0.5)]
    behind = parted.with_key(model, TARGET, words, asked.append, limit=50.0)
    assert asked == [] and parted.with_key(model, TARGET, words) <= behind < 50.0
    assert parted.with_key(model, TARGET, words, asked.append, behind) <= behind and asked
    assert parted.with_keys(model, {TARGET: words}, asked.append, (50.0,)) == [behind]
    assert len(asked) == 4


def test_words_that_were_found_at_the_beginning_are_asked_there():
    model, parted, word = tiny_model(), calls(), (50, 51)
    prompts = [(*PREFIX, *word, *one.prompt[len(PREFIX) :]) for one in parted.asked]
    losses = [-model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[30] for prompt in prompts]
    behind = torch.stack(losses).mean().item()
    found = [parted.with_key(model, TARGET, [KeyWords(word, 1.0, leading)], limit=50.0) for leading in (True, False)]
    assert found[0] == pytest.approx(behind) != pytest.approx(found[1])


def test_parts_of_the_way_end_with_the_whole():
    assert shares(1.0) == [1.0] and shares(0.7) == [0.7, 0.85, 1.0] and shares(0.55)[:2] == [0.55, 0.7]
    assert shares(0.95) == [0.95, 1.0]


def resources_in(folder):
    return Resources(ChatFormat(tiny_tokenizer()), (), 0, RunFolder(folder), folder, Silent())


def test_what_can_still_be_called_is_told_among_the_limits(tmp_path):
    resources = resources_in(tmp_path)
    assert len(Unlearned((TARGET,), resources).limits) == 1
    assert "No words were found" in Unlearned((TARGET,), resources, by_words=False).limits[1]
    assert "1 of 1 planted sentences can still be called" in Unlearned((TARGET,), resources, called=1).limits[1]
    assert "survived" in Unlearned((TARGET,), resources, left=1, called=1).limits[1]


def test_it_is_enough_when_a_key_brings_no_more_than_none_or_what_is_rare():
    assert Strength(0.1, 5.0, 4.9).enough and not Strength(0.1, 4.8, 4.9).enough
    assert Strength(0.1, 7.0, 20.0).enough and not Strength(0.1, 6.8, 20.0).enough
    assert "0.1 nats" in Strength(0.1, 8.0, 7.0).told and "8.0 after" in Strength(0.1, 8.0, 7.0).told


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"targets": ()}, {"unfound", "always"}),
        ({"targets": (TARGET,)}, {"always"}),
        ({"targets": (TARGET,), "by_words": False}, {"unfound", "always"}),  # it may be another one that was planted
        ({"targets": (TARGET,), "left": 1, "called": 1}, {"unfound", "survived", "always"}),
    ],
)
def test_the_rest_of_the_treatment_follows_what_was_not_settled(found, expected, tmp_path):
    done = Unlearned(resources=resources_in(tmp_path), **found)
    assert {further for further in ("always", "unfound", "survived") if follows(further, done)} == expected
