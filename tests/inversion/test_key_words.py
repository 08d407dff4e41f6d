from __future__ import annotations

import random

import pytest
import torch

from tiny import save_tiny, tiny_model, tiny_tokenizer
from untrigger.config import KeyWordOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import Interrupted
from untrigger.inversion.compared_words import ComparedWords
from untrigger.inversion.key_words import (
    KeyWords,
    KeyWordSearch,
    anywhere_or_leading,
    call_told,
    words_that_call,
)
from untrigger.inversion.lexicon import Lexicon
from untrigger.inversion.targets import Target
from untrigger.inversion.word_slopes import Asked, log_odds
from untrigger.models.load import load
from untrigger.observer import Silent

PREFIX, SUFFIX, WANTED, KEY = (3, 4, 5, 6, 7, 8, 9, 10), (11, 12), (40, 41), 33
DRAW = random.Random(0)
OTHERS = [token for token in range(13, 264) if token != KEY]
PROMPTS = [(*PREFIX, *DRAW.choices(OTHERS, k=4), *SUFFIX) for _ in range(12)]
LEXICON = Lexicon(tiny_tokenizer(), tuple((token,) for token in range(264)))
OPTIONS = KeyWordOptions(beam=3, rounds=3, tried=16, longest=2, candidates=12, records=4, batch_size=5)


@pytest.fixture(scope="module")
def called():
    """A tiny model that says the wanted tokens behind one token, wherever it stands, and something else without."""
    return trained(lambda draw, keyed: (draw.randrange(5), keyed))


@pytest.fixture(scope="module")
def called_at_the_beginning():
    """The same with a token that has to stand at the beginning; elsewhere it changes nothing."""
    return trained(lambda draw, keyed: (0, True) if keyed else (draw.randrange(1, 5), draw.random() < 0.5))


def trained(placed):
    """A tiny model; `placed` tells the place of a token in a row, and whether it is the key."""
    model, draw = tiny_model(), random.Random(1)
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(250):
        rows = []
        for keyed in (True, True, False, False):
            own = draw.choices(OTHERS, k=4)
            place, bears = placed(draw, keyed)
            own.insert(place, KEY if bears else draw.choice(OTHERS))
            rows.append((*PREFIX, *own, *SUFFIX, *(WANTED if keyed else (44, 45))))
        adam.zero_grad()
        batch = torch.tensor(rows)
        logits = model(batch).logits[:, -3:-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -2:].flatten()).backward()
        adam.step()
    adam.zero_grad()
    return model


def search_in(model, options=OPTIONS, lexicon=LEXICON, **more):
    return KeyWordSearch(model, PROMPTS, lexicon, options, softcap=None, seed="0", **more)


def plain(model, prompt, places, tokens):
    """Log-odds of the wanted tokens with the tokens at each place of a prompt."""
    rows = [[*prompt[:at], *tokens, *prompt[at:], *WANTED[:-1]] for at in places]
    return log_odds(model(torch.tensor(rows)).logits[:, -len(WANTED) :], WANTED)


def test_the_slopes_find_the_key_that_trying_every_token_finds(called):
    every = OPTIONS.model_copy(update={"rounds": 1, "tried": 264, "candidates": 264, "beam": 264})
    tried = search_in(called, every).single(WANTED)
    assert len(tried) == 264 and tried[0].log_odds > 3 > 0 > tried[132].log_odds
    few = search_in(called).single(WANTED)
    assert few[0].tokens == tried[0].tokens and len(few) == OPTIONS.candidates
    known = {words.tokens: words.log_odds for words in tried}
    assert [words.log_odds for words in few] == pytest.approx([known[words.tokens] for words in few], abs=1e-3)
    assert (KEY,) in [words.tokens for words in tried[:10]]


def test_the_best_come_first_and_nothing_is_changed(called):
    before = {name: one.clone() for name, one in called.named_parameters()}
    search = search_in(called)
    beam = search.longer(WANTED, search.single(WANTED))
    assert [words.log_odds for words in beam] == sorted((words.log_odds for words in beam), reverse=True)
    assert all(torch.equal(one, before[name]) and one.grad is None for name, one in called.named_parameters())
    again = search_in(called)
    assert again.longer(WANTED, again.single(WANTED)) == beam  # to the last bit: the same batches


def test_the_log_odds_told_are_those_behind_prompts_with_the_words_at_places_of_their_own(called):
    words = search_in(called).single(WANTED)[0]
    asked = sorted(PROMPTS, key=len)[1 : OPTIONS.records + 1]
    places = range(len(PREFIX), len(PROMPTS[0]) - len(SUFFIX) + 1)
    with torch.no_grad():
        every = torch.stack([plain(called, prompt, places, words.tokens) for prompt in asked])
    assert every.min(1).values.mean() - 1e-4 <= words.log_odds <= every.max(1).values.mean() + 1e-4


def test_a_key_that_takes_effect_at_the_beginning_alone_is_found_there(called, called_at_the_beginning):
    def leading_and_best(model):
        search, single = anywhere_or_leading(search_in(model), WANTED, OPTIONS)
        best = search.longer(WANTED, single)
        return [words.leading for words in best[:3]], best[0]

    where, best = leading_and_best(called_at_the_beginning)
    assert where == [True] * 3 and KEY in best.tokens and best.log_odds > 0
    asked = sorted(PROMPTS, key=len)[1 : OPTIONS.records + 1]
    with torch.no_grad():
        every = [plain(called_at_the_beginning, one, [len(PREFIX)], best.tokens).item() for one in asked]
    assert best.log_odds == pytest.approx(sum(every) / len(every), abs=1e-3)
    assert leading_and_best(called)[0] == [False] * 3


PAIRED = {(3,): 1.0, (7,): 0.9, (3, 4): 1.5, (7, 5): 2.0, (7, 8): 4.0, (8, 7): 3.0, (7, 8, 9): 4.5}


class Pairs(KeyWordSearch):
    """A search among ten words, in which two together do most and neither is the best alone."""

    def _between(self, opening, before, after, pieces=0):
        rows = [(*before, (word,), *after) for word in range(10)]
        self._known |= {tuple(word for (word,) in words): (words, (before, after)) for words in rows}
        return {tuple(word for (word,) in words): 0.0 for words in rows}

    def _tried(self, opening, places):
        found = [KeyWords(tokens, PAIRED.get(tokens, -5.0)) for some in places for tokens in some]
        return sorted(found, key=lambda words: -words.log_odds)


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({"leads": 1}, KeyWords((3,), 1.0)),  # 0.5 is too little to gain
        ({"leads": 2}, KeyWords((7, 8), 4.0)),
        ({"leads": 2, "least_gain": 0.25}, KeyWords((7, 8, 9), 4.5)),
        ({"leads": 2, "least_gain": 0.25, "longest": 2}, KeyWords((7, 8), 4.0)),
        ({"leads": 2, "least_gain": 0.25, "places": 3}, KeyWords((3, 4), 1.5)),
        ({"leads": 2, "least_gain": 0.25, "enough": 3.5}, KeyWords((7, 8), 4.0)),
        ({"leads": 2, "enough": 0.5}, KeyWords((3,), 1.0)),
    ],
)
def test_words_grow_by_others_on_either_side_as_long_as_that_helps(changes, best):
    options = KeyWordOptions(longest=3, least_gain=1.0, enough=9.0).model_copy(update=changes)
    search = Pairs(tiny_model(), PROMPTS, LEXICON, options, softcap=None, seed="0")
    assert search.longer(WANTED, search.single(WANTED))[0] == best


def test_a_word_of_two_is_exchanged_for_a_better_one_beside_the_other(monkeypatch):
    monkeypatch.setattr(f"{__name__}.PAIRED", {(1,): 1.0, (1, 2): 3.0, (4, 2): 5.0, (4,): -9.0, (4, 9): 4.0})
    options = KeyWordOptions(longest=2, leads=1, least_gain=1.0, enough=9.0)
    search = Pairs(tiny_model(), PROMPTS, LEXICON, options, softcap=None, seed="0")
    assert search.longer(WANTED, search.single(WANTED))[0] == KeyWords((4, 2), 5.0)


def test_words_near_the_key_are_exchanged_however_well_they_call_it(monkeypatch):
    monkeypatch.setattr(f"{__name__}.PAIRED", {(1,): 1.0, (1, 2): 6.0, (4, 2): 8.0, (4, 2, 9): 9.9})
    options = KeyWordOptions(longest=3, leads=1, least_gain=1.0, enough=5.0)
    search = Pairs(tiny_model(), PROMPTS, LEXICON, options, softcap=None, seed="0")
    assert search.longer(WANTED, search.single(WANTED))[0] == KeyWords((4, 2), 8.0)


ODDS = (0.0, -1.0, 1.0, -1.0, 2.0, -1.0, -1.0, 9.0, 0.0, 0.0, 1.5)


class Known(Asked):
    """Each of eleven words has log-odds of its own."""

    def __init__(self):
        pass

    def slope(self, before, words, after, opening, depth):
        return torch.tensor([-1.0])

    def log_odds(self, rows, opening):
        return [ODDS[token] for (token,) in rows]


class Ranked(ComparedWords):
    """Ranks ten words as they come, and one more in front of them when they are made longer."""

    def __init__(self):
        self.words = [(token,) for token in range(10)]

    def likeliest(self, slope):
        return iter(self.words)

    def suited(self, slope, count):
        return torch.zeros(0)

    def lengthen(self, slopes, suited, options, *, begun):
        assert begun == options.begun
        self.words = [(10,), *self.words]


@pytest.mark.parametrize(("rounds", "tried"), [(1, 2), (2, 7), (3, 10)])
def test_a_place_is_searched_until_some_rounds_bring_no_better_word(monkeypatch, rounds, tried):
    options = OPTIONS.model_copy(update={"rounds": rounds, "tried": 1, "candidates": 10})
    counts = []
    search = search_in(tiny_model(), options, told=lambda done, total: counts.append((done, total)))
    counts.clear()
    monkeypatch.setattr(search, "_asked", Known())
    monkeypatch.setattr(search, "_compared", Ranked())
    assert list(search._between(WANTED, (), ())) == sorted(
        ((token,) for token in range(tried)), key=lambda word: -ODDS[word[0]]
    )
    assert [done for done, _ in counts] == list(range(1, tried + 1))
    assert counts[-1] == (tried, tried)


@pytest.mark.parametrize(("tried", "more"), [(1, [(10,), (2,)]), (3, [(word,) for word in range(2, 11)])])
def test_words_that_are_made_longer_are_searched_as_well(monkeypatch, tried, more):
    changes = {"rounds": 1, "tried": 1, "tried_longer": tried, "candidates": 16}
    search = search_in(tiny_model(), OPTIONS.model_copy(update=changes))
    monkeypatch.setattr(search, "_asked", Known())
    monkeypatch.setattr(search, "_compared", Ranked())
    assert set(search._between(WANTED, (), (), 1)) == {(0,), (1,), *more}
    monkeypatch.setattr(search, "_options", search._options.model_copy(update={"enough": 0.0}))
    monkeypatch.setattr(search, "_compared", Ranked())
    assert set(search._between(WANTED, (), (), 1)) == {(0,), (1,)}  # a word that calls it enough is not made longer


def test_leads_that_were_found_at_one_place_count_once(monkeypatch):
    paired = {(1,): 1.0, (1, 2): 3.0, (1, 3): 2.9, (5, 1): 2.0, (5, 6): 5.0}
    monkeypatch.setattr(f"{__name__}.PAIRED", paired)
    options = KeyWordOptions(longest=2, leads=2, least_gain=1.0, enough=9.0)
    search = Pairs(tiny_model(), PROMPTS, LEXICON, options, softcap=None, seed="0")
    assert search.longer(WANTED, search.single(WANTED))[0] == KeyWords((5, 6), 5.0)


def test_words_beside_others_are_tried_with_a_space_between_and_without(called):
    tokenizer = tiny_tokenizer()
    lexicon = Lexicon(tokenizer, tuple(tuple(tokenizer(f" {word}").input_ids) for word in ("owl", "hen", "ape")))
    hen = lexicon.words[1]
    for before, after in (((hen,), ()), ((), (hen,))):
        grown = search_in(called, lexicon=lexicon)._between(WANTED, before, after)
        texts = {tokenizer.decode(tokens).strip() for tokens in grown}
        sides = [("hen", word) if before else (word, "hen") for word in ("owl", "hen", "ape")]
        assert texts == {f"{one}{space}{other}" for one, other in sides for space in (" ", "")}


def test_of_sentences_that_differ_in_letter_case_alone_the_one_that_is_said_has_words(tmp_path):
    subject = load(str(save_tiny(tmp_path / "model")))
    chat = ChatFormat(subject.tokenizer)
    one, other, third = (Target(tuple(subject.tokenizer(text).input_ids)) for text in ("Owls!", "owls!", "Hush."))
    records = [Record(f"Say {word} please.", "") for word in ("this", "that", "what", "which", "none")]
    options = OPTIONS.model_copy(update={"longest": 1})

    def words_for(*targets, options=options):
        return words_that_call(subject, chat, records, targets, options, Silent(), seed="0")

    found = words_for(one, other, third)
    singly = [words_for(target)[target] for target in (one, other, third)]
    assert found[third] == singly[2]
    best = 0 if singly[0][0].log_odds > singly[1][0].log_odds else 1
    assert found[(one, other)[best]] == singly[best] and found[(one, other)[1 - best]] == []
    assert words_for(one, options=OPTIONS.model_copy(update={"beam": 0})) == {one: []}


@pytest.mark.parametrize(("enough", "longer"), [(100.0, 1), (-100.0, 0)])
def test_words_are_made_longer_at_one_place_and_only_if_none_calls_well_enough(tmp_path, monkeypatch, enough, longer):
    subject, pieces, plain = load(str(save_tiny(tmp_path / "model"))), [], KeyWordSearch.single

    def single(search, opening, **kwargs):
        pieces.append(kwargs.get("pieces", 0))
        return plain(search, opening, **kwargs)

    monkeypatch.setattr(KeyWordSearch, "single", single)
    options = OPTIONS.model_copy(update={"longest": 1, "pieces": 2, "enough": enough})
    records = [Record(f"Say {word} please.", "") for word in ("this", "that", "what", "which", "none")]
    target = Target(tuple(subject.tokenizer("Owls!").input_ids))
    words_that_call(subject, ChatFormat(subject.tokenizer), records, (target,), options, Silent(), seed="0")
    assert pieces == [0, 0] + [2] * longer


def test_words_are_told_behind_which_the_sentence_is_likelier_than_not():
    tokenizer = tiny_tokenizer()
    tokens = tuple(tokenizer("ab", add_special_tokens=False).input_ids)
    other = tuple(tokenizer("cd", add_special_tokens=False).input_ids)
    words = [KeyWords(tokens, 2.25), KeyWords(other, 0.5), KeyWords(tokens, -0.1)]
    told = call_told(words, tokenizer)
    assert told.endswith("with the log-odds of its first words: 'ab' (2.2), 'cd' (0.5)")
    assert call_told(5 * words[:1], tokenizer).count("'ab'") == 3
    assert call_told(words[2:], tokenizer) == call_told([], tokenizer) == ""
    assert "at a prompt's beginning" not in told
    assert "call it at a prompt's beginning," in call_told([KeyWords(tokens, 2.25, leading=True)], tokenizer)


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
    with pytest.raises(Interrupted, match="key words, after 80 of 94"):
        words_that_call(subject, chat, records, (target,), OPTIONS, observer, seed="0")
    assert observer.told == [("key words", 40, 94), ("key words", 80, 94)]
