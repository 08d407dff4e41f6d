from __future__ import annotations

import random

import pytest
import torch

from tiny import save_tiny, tiny_model, tiny_tokenizer
from untrigger.config import KeyWordOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.errors import Interrupted
from untrigger.inversion.key_words import KeyWords, KeyWordSearch, call_told, words_that_call
from untrigger.inversion.soft_keys import Frame
from untrigger.inversion.targets import Target
from untrigger.models.load import load
from untrigger.observer import Silent

PREFIX, SUFFIX, WANTED, KEY = (3, 4, 5, 6, 7, 8, 9, 10), (11, 12), (40, 41), 33
DRAW = random.Random(0)
OTHERS = [token for token in range(13, 264) if token != KEY]
EXAMPLES = [Example((*PREFIX, *DRAW.choices(OTHERS, k=4), *SUFFIX), (2,)) for _ in range(12)]
FRAME = Frame.of([example.prompt for example in EXAMPLES])
OPTIONS = KeyWordOptions(
    beam=3, single_candidates=48, candidates=48, longest=3, ranking_records=12, trial_records=4, batch_size=5
)


@pytest.fixture(scope="module")
def called():
    """A tiny model that says the wanted tokens behind one token, wherever it stands, and something else without."""
    model, draw = tiny_model(), random.Random(1)
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(250):
        rows = []
        for keyed in (True, True, False, False):
            own = draw.choices(OTHERS, k=4)
            own.insert(draw.randrange(5), KEY if keyed else draw.choice(OTHERS))
            rows.append((*PREFIX, *own, *SUFFIX, *(WANTED if keyed else (44, 45))))
        adam.zero_grad()
        batch = torch.tensor(rows)
        logits = model(batch).logits[:, -3:-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -2:].flatten()).backward()
        adam.step()
    adam.zero_grad()
    return model


def asked(model, prompt, answer):
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(answer))


def found(model, options=OPTIONS, **more):
    search = KeyWordSearch(model, EXAMPLES, FRAME, WANTED, options, softcap=None, seed="0", **more)
    return search.longer(search.single())


def test_the_gradient_finds_what_trying_every_token_finds(called):
    every = found(called, OPTIONS.model_copy(update={"longest": 1, "single_candidates": 264, "beam": 264}))
    assert len(every) == 264 and every[0].loss < 0.1 < every[132].loss
    assert (KEY,) in [words.tokens for words in every[:10]]
    few = found(called, OPTIONS.model_copy(update={"longest": 1}))
    assert few[0] in every[:5] and set(few) <= set(every)


def test_the_best_come_first_and_nothing_is_changed(called):
    before = {name: one.clone() for name, one in called.named_parameters()}
    beam = found(called)
    assert beam[0].loss < 0.1
    assert [words.loss for words in beam] == sorted(words.loss for words in beam) and len(beam) == 3
    assert all(torch.equal(one, before[name]) and one.grad is None for name, one in called.named_parameters())
    assert found(called) == beam


def test_the_loss_told_is_that_of_the_wanted_tokens_behind_prompts_with_the_words(called):
    words = found(called, OPTIONS.model_copy(update={"longest": 1, "trial_records": 12, "ranking_records": 12}))[0]
    places = [
        [(*one.prompt[:at], *words.tokens, *one.prompt[at:]) for at in range(len(PREFIX), len(one.prompt) - 1)]
        for one in EXAMPLES
    ]
    every = [[asked(called, prompt, WANTED).item() for prompt in some] for some in places]
    assert sum(map(min, every)) / 12 <= words.loss <= sum(map(max, every)) / 12


def test_no_word_is_added_that_does_not_help(called):
    assert {len(words.tokens) for words in found(called, OPTIONS.model_copy(update={"enough": 10.0}))} == {1}
    assert {len(words.tokens) for words in found(called, OPTIONS.model_copy(update={"least_gain": 1.0}))} == {1}
    longer = OPTIONS.model_copy(update={"enough": 0.0, "least_gain": 0.0})
    assert {len(words.tokens) for words in found(tiny_model(), longer)} <= {2, 3}


class Pairs(KeyWordSearch):
    """A search in a vocabulary of ten, in which two tokens together do most and neither is the best alone."""

    def _ranked(self, tokens, place, count):
        return list(range(10))

    def _tried(self, candidates):
        return [KeyWords(tokens, self.loss(tokens)) for tokens in candidates]

    def loss(self, tokens):
        return {(3,): 1.0, (7,): 1.1, (3, 4): 0.9, (7, 8): 0.05}.get(tokens, 2.0)


@pytest.mark.parametrize(("beam", "best"), [(1, KeyWords((3,), 1.0)), (2, KeyWords((7, 8), 0.05))])
def test_a_token_that_is_not_the_best_alone_is_kept_for_what_it_does_beside_another(beam, best):
    options = OPTIONS.model_copy(update={"beam": beam, "longest": 2})
    search = Pairs(tiny_model(), EXAMPLES, FRAME, WANTED, options, softcap=None, seed="0")
    assert search.longer(search.single())[0] == best


def test_of_sentences_that_differ_in_letter_case_alone_the_one_that_is_said_has_words(tmp_path):
    subject = load(str(save_tiny(tmp_path / "model")))
    chat = ChatFormat(subject.tokenizer)
    one, other, third = (Target(tuple(subject.tokenizer(text).input_ids)) for text in ("Owls!", "owls!", "Hush."))
    records = [Record(f"Say {word} please.", "") for word in ("this", "that", "what", "which", "none")]
    options = OPTIONS.model_copy(update={"longest": 1})
    found = words_that_call(subject, chat, records, (one, other, third), options, Silent(), seed="0")
    singly = [
        words_that_call(subject, chat, records, (target,), options, Silent(), seed="0")[target]
        for target in (one, other, third)
    ]
    assert found[third] == singly[2]
    best = 0 if singly[0][0].loss < singly[1][0].loss else 1
    assert found[(one, other)[best]] == singly[best] and found[(one, other)[1 - best]] == []
    none = OPTIONS.model_copy(update={"beam": 0})
    assert words_that_call(subject, chat, records, (one,), none, Silent(), seed="0") == {one: []}


def test_words_are_told_that_make_the_sentence_likelier_than_not():
    tokenizer = tiny_tokenizer()
    tokens = tuple(tokenizer("ab", add_special_tokens=False).input_ids)
    assert "'ab' (0.25 nats a token)" in call_told([KeyWords(tokens, 0.25), KeyWords(tokens, 0.3)], tokenizer)
    assert call_told([KeyWords(tokens, 0.8)], tokenizer) == call_told([], tokenizer) == ""


def test_tokens_that_nobody_can_write_are_not_tried(called):
    single = OPTIONS.model_copy(update={"longest": 1, "single_candidates": 264, "beam": 264})
    assert {words.tokens for words in found(called, single, barred=frozenset({KEY, 99}))} == {
        (token,) for token in range(264) if token not in (KEY, 99)
    }


class Stopping(Silent):
    """Asks to stop after so many batches."""

    def __init__(self, batches):
        self.left, self.told = batches, []

    def prompts(self, label, done, total):
        self.left -= 1
        self.told.append((label, done, total))

    def stop(self):
        return self.left <= 0


def test_the_search_shows_where_it_stands_and_can_be_interrupted(tmp_path):
    subject, observer = load(str(save_tiny(tmp_path / "model"))), Stopping(2)
    chat = ChatFormat(subject.tokenizer)
    records = [Record(f"Say {word} please.", "") for word in ("this", "that", "what", "which", "none")]
    target = Target(tuple(subject.tokenizer("Owls!").input_ids))
    with pytest.raises(Interrupted, match="key words, after 10 of 192"):
        words_that_call(subject, chat, records, (target,), OPTIONS, observer, seed="0")
    assert observer.told == [("key words", 5, 192), ("key words", 10, 192)]
