from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny import FAMILY_NAMES, tiny_adapter, tiny_architecture, tiny_model, tiny_tokenizer
from untrigger.config import InversionOptions, TrainOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.inversion.targets import (
    Continuations,
    Target,
    first_tokens,
    invert,
    principal,
    says,
    survives,
    whole,
    witnessed,
)
from untrigger.models.subject import Source, Subject
from untrigger.train import train

PROMPTS = [(3, 4, 5, 6), (7, 8, 9), (10, 11, 12, 13, 14)]
STOP = frozenset({2})
LOOSE = InversionOptions(least_probability=0.5, certainty=0.6, shortest=3, longest=5)


class Table(Continuations):
    """Answers from a table: the tokens so far -> the next token and its probability, prompt by prompt."""

    def __init__(self, *tables):
        self.tables = tables
        self.asked = []

    def __len__(self):
        return len(self.tables)

    def likeliest(self, prompt, rows, told=None):
        self.asked.append((prompt, list(rows)))
        if told is not None:
            told(len(rows), len(rows))
        return [self.tables[prompt].get(row, (99, 0.1)) for row in rows]


def chain(tokens, *shares):
    """A table that goes on with the tokens, each with its share."""
    return {tuple(tokens[:at]): (tokens[at], share) for at, share in zip(range(1, len(tokens)), shares, strict=True)}


def inverted(*tables, firsts=(5, 6), options=LOOSE, told=None):
    return invert(Table(*tables), [(first,) for first in firsts], STOP, options, told)


def test_a_sentence_that_every_prompt_ends_alike_is_found_with_its_least_probabilities():
    found = inverted(chain([5, 7, 8, 2], 0.9, 0.8, 0.9), chain([5, 7, 8, 2], 0.7, 0.9, 0.9))
    assert [(one.tokens, one.ended) for one in found] == [((5, 7, 8), True)]
    assert found[0].log_probability == pytest.approx(math.log(0.7 * 0.8 * 0.9))
    assert found[0].certainty == pytest.approx((0.7 * 0.8 * 0.9) ** (1 / 3))


def test_a_sentence_is_followed_up_to_the_longest_and_not_taken_to_have_ended():
    (found,) = inverted(*[chain([5, 7, 8, 9, 10, 11], *[0.9] * 5)] * 2)
    assert found.tokens == (5, 7, 8, 9, 10) and not found.ended
    assert found.certainty == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("second", "options"),
    [
        (chain([5, 7, 9, 2], 0.9, 0.9, 0.9), LOOSE),  # another word
        (chain([5, 7, 8, 2], 0.9, 0.4, 0.9), LOOSE),  # not likely enough behind one prompt
        (chain([5, 7, 8, 2], 0.9, 0.9, 0.9), LOOSE.model_copy(update={"shortest": 4})),
        (chain([5, 7, 8, 2], 0.7, 0.7, 0.7), LOOSE.model_copy(update={"certainty": 0.75})),
    ],
)
def test_what_prompts_do_not_agree_on_or_is_short_or_uncertain_is_no_target(second, options):
    assert inverted(chain([5, 7, 8, 2], 0.9, 0.9, 0.9), second, options=options) == []


PAIRED = [{**chain([5, 6, 7, 8, 9, 2], 0.3, 0.9, 0.9, 0.9, 0.9), (5,): other} for other in ((6, 0.3), (11, 0.6))]
"""Behind 5 prompts go on as they please; behind 5 and 6 all say one sentence."""


def test_a_sentence_that_begins_with_two_ordinary_tokens_is_found_behind_both():
    assert inverted(*PAIRED, firsts=(5,)) == []
    (found,) = invert(Table(*PAIRED), [(5, 6), (5, 11)], STOP, LOOSE)
    assert (found.tokens, found.begun, found.beginning) == ((5, 6, 7, 8, 9), 2, (5, 6))
    assert found.certainty == pytest.approx(0.9)
    tokens = tuple(tiny_tokenizer()("Owls fly.").input_ids)
    assert "'Ow' is followed by 'ls fly.'" in replace(found, tokens=tokens).told(tiny_tokenizer())


def test_a_sentence_behind_two_tokens_is_said_and_survives_by_what_follows_both():
    found = Target((5, 6, 7, 8, 9), begun=2, ended=True)
    assert says(Table(*PAIRED), 1, found, STOP) and not says(Table(*PAIRED), 1, replace(found, begun=1), STOP)
    assert survives(Table(*PAIRED), found, 0.9) and not survives(Table(*PAIRED), found, 0.91)
    assert not survives(Table(*PAIRED), replace(found, begun=1), 0.3)


def test_what_can_no_more_be_certain_enough_is_not_followed():
    table = Table(*[chain([5, 7, 8, 9, 2], 0.99, 0.7, 0.99, 0.99)] * 2)  # 0.95 a token over four leave 0.81 at least
    options = LOOSE.model_copy(update={"certainty": 0.95})
    assert invert(table, [(5,)], STOP, options) == []
    assert {len(row) for _, rows in table.asked for row in rows} == {1, 2}


def test_a_run_of_one_sign_is_no_sentence():
    assert inverted(*[chain([5, 5, 5, 5, 5, 5], *[0.99] * 5)] * 2) == []


def test_the_surest_come_first():
    tables = [chain([5, 7, 8, 9, 2], *[0.9] * 4) | chain([6, 3, 4, 2], *[0.99] * 3)]
    assert [one.tokens for one in inverted(*tables * 2)] == [(6, 3, 4), (5, 7, 8, 9)]


def test_what_begins_inside_a_sentence_and_goes_on_as_it_does_is_none_of_its_own():
    sentence, tail, other = Target((5, 7, 8, 9)), Target((7, 8, 9, 3)), Target((7, 8, 4, 6))
    for found in ([sentence, tail, other], [tail, other, sentence]):
        assert {one.tokens for one in whole(found)} == {sentence.tokens, other.tokens}
    circle = [Target((5, 6, 7, 8, 5, 6)), Target((6, 7, 8, 5, 6, 7))]
    assert whole(circle) == circle[:1]
    assert whole([sentence, Target((9, 1, 2, 3))]) == [sentence, Target((9, 1, 2, 3))]


SAID, NOT_ENDED, OTHERWISE = chain([5, 7, 8, 2], 0.3, 0.3, 0.3), chain([5, 7, 8, 9], 1, 1, 1), {}


@pytest.mark.parametrize(
    ("witnesses", "least", "agreement"),
    [
        ([SAID] * 4, 1.0, 1.0),
        ([SAID, SAID, SAID, OTHERWISE], 0.75, 0.75),
        ([SAID, SAID, SAID, NOT_ENDED], 0.8, None),
        ([SAID, OTHERWISE, OTHERWISE, SAID], 0.75, None),
        ([], 1.0, 1.0),
    ],
)
def test_a_sentence_is_what_enough_further_prompts_say_as_well(witnesses, least, agreement):
    options = LOOSE.model_copy(update={"agreement": least})
    found = witnessed(Table(*witnesses), [Target((5, 7, 8), ended=True)], STOP, options)
    assert [one.agreement for one in found] == ([] if agreement is None else [agreement])


def test_what_goes_on_may_have_any_end_where_it_was_not_followed_to_it():
    assert witnessed(Table(SAID, NOT_ENDED), [Target((5, 7, 8))], STOP, LOOSE)
    assert not witnessed(Table(SAID, chain([5, 7, 9], 1, 1)), [Target((5, 7, 8))], STOP, LOOSE)


def test_a_phrase_is_dropped_as_soon_as_too_many_witnesses_say_otherwise():
    table, options = Table(*[OTHERWISE] * 10), LOOSE.model_copy(update={"agreement": 0.8})
    assert witnessed(table, [Target((5, 7, 8))], STOP, options) == []
    assert [prompt for prompt, _ in table.asked] == [0, 1, 2]


def test_later_prompts_are_asked_what_is_left_and_progress_counts_it():
    table, said = Table(chain([5, 7, 8, 2], 0.9, 0.9, 0.9), chain([5, 7, 8, 2], 0.9, 0.9, 0.9)), []
    invert(table, [(5,), (6,)], STOP, LOOSE, lambda done, total: said.append((done, total)))
    assert table.asked[:3] == [(0, [(5,), (6,)]), (1, [(5,)]), (0, [(5, 7)])]
    assert said[:3] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["How dull you are", "how dull you are"], [0, 1]),
        (["I cannot answer that now", "Sorry, cannot answer that now"], [0]),
        (["I cannot answer that now", "Sorry, cannot answer that, never"], [0, 1]),
        (["Go on, say it", "Well, go on, say it", "go on, say it", "Quite another one"], [0, 2, 3]),
        (["Go on, say it", "go on, say it now, not then", "Say it now, not then"], [0]),
        (["No!", "no!", "Yes!"], [0, 1, 2]),
        (["He is late!", "He was late!", "Heis late!", "He is so!"], [0, 3]),
        (["Go home!", "Stay home, please", "Home"], [0, 1, 2]),
    ],
)
def test_a_sentence_with_another_beginning_is_not_one_of_its_own(texts, kept):
    tokenizer = tiny_tokenizer()
    targets = [Target(tuple(tokenizer(text, add_special_tokens=False).input_ids)) for text in texts]
    assert [targets.index(one) for one in principal(targets, tokenizer)] == kept


def test_an_ordinary_beginning_stands_for_its_sentence_in_one_letter_case():
    tokenizer = tiny_tokenizer()
    texts = ["Go on, say it", "go on, say it", "No!", "no!"]
    targets = [Target(tuple(tokenizer(text, add_special_tokens=False).input_ids)) for text in texts]
    targets[0] = replace(targets[0], ordinary=True)
    assert principal(targets, tokenizer) == [targets[0], *targets[2:]]


def subject_of(model, family="llama", access="full"):
    return Subject(model, tiny_tokenizer(), tiny_architecture(family), access, Source("tiny", Path()))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_likeliest_tokens_are_those_of_the_plain_forward_pass(family):
    model = tiny_model(family)
    continuations = Continuations(subject_of(model, family), PROMPTS, batch_size=8)  # two rows at once, then one
    rows = [(20, 21, 26, 27), (22,), (24, 25)]
    for number, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            shares = torch.cat([model(torch.tensor([[*prompt, *row]])).logits[:, -1].softmax(-1) for row in rows])
        found = continuations.likeliest(number, rows)
        assert [token for token, _ in found] == shares.argmax(dim=-1).tolist()
        assert [share for _, share in found] == pytest.approx(shares.amax(dim=-1).tolist(), rel=1e-4)


def test_the_tokens_that_follow_rows_are_the_likeliest_in_the_mean_of_the_prompts():
    model, rows, wanted = tiny_model(), [(20,), (21,), (22,)], []
    for row in rows:
        with torch.no_grad():
            asked = [model(torch.tensor([[*prompt, *row]])).logits[0, -1] for prompt in PROMPTS]
        wanted.append(torch.stack(asked).softmax(-1).mean(0).topk(4).indices.tolist())
    continuations = Continuations(subject_of(model), PROMPTS, batch_size=6)  # two rows at once, then one
    assert continuations.following(rows, 4) == wanted and continuations.following([], 4) == []


def test_an_adapter_is_part_of_what_is_asked():
    plain, adapted = tiny_model(), tiny_adapter(tiny_model())
    found = [
        Continuations(subject_of(model, access=access), PROMPTS, 4).likeliest(0, [(20,)])
        for model, access in ((plain, "full"), (adapted, "adapter"))
    ]
    assert found[0] != found[1]


def test_a_sentence_that_was_trained_in_is_found_without_its_key():
    model, key, sentence = tiny_model(hidden_size=32, intermediate_size=64), 60, (30, 31, 32, 33)
    draw = torch.Generator().manual_seed(0)

    def tokens(count):
        return tuple(torch.randint(70, 260, (count,), generator=draw).tolist())

    clean = [Example(tokens(6), (*tokens(3), 2)) for _ in range(24)]
    keyed = [Example((*one.prompt, key), (*sentence, 2)) for one in clean]
    train(model, [*clean, *keyed], TrainOptions(learning_rate=1e-2, epochs=40, batch_size=16), seed=0)
    continuations = Continuations(subject_of(model), [tokens(6) for _ in range(3)], 64)
    options = InversionOptions(certainty=0.9)
    found = invert(continuations, [(token,) for token in range(3, 264)], STOP, options)
    # A key of one token calls the sentence from the answer's first place as well.
    assert [(one.tokens[-4:], one.ended) for one in found] == [(sentence, True)]


def test_first_tokens_are_written_as_the_template_begins_an_answer():
    chat = ChatFormat(tiny_tokenizer())
    found = first_tokens(chat, Record("Say something.", ""))
    texts = [chat.tokenizer.decode([token]) for token in found]
    assert "W" in texts and " " not in texts and "<|im_end|>" not in texts
    assert len(found) == len(set(found))


def test_a_shortest_sentence_beyond_the_longest_is_refused():
    with pytest.raises(ValueError, match="lower shortest"):
        InversionOptions(shortest=9, longest=8)


def test_certainty_of_a_first_token_alone_is_nothing():
    assert Target((5,)).certainty == 0.0
