from __future__ import annotations

import pytest
import torch
from test_lexicon import BYTE_LEVEL, SENTENCEPIECE, tokenizer

from tiny import tiny_model
from untrigger.config import KeyWordOptions
from untrigger.errors import Interrupted
from untrigger.inversion.compared_words import ComparedWords
from untrigger.inversion.lexicon import Lexicon
from untrigger.inversion.word_slopes import Asked

HEAD, TAIL = (3, 4, 5, 6, 7, 8, 9, 10, 20), (11, 12)


def compared(made, words, told=lambda done, total: None):
    model = tiny_model()
    asked = Asked(model, HEAD, TAIL, softcap=None, batch_size=2)
    lexicon = Lexicon(made, words, Lexicon.of(made, 10**6).inside)
    return model, asked, ComparedWords(lexicon, asked, 1, told)


@pytest.mark.parametrize("space", [BYTE_LEVEL, SENTENCEPIECE])
def test_words_go_on_with_letters_and_digits_that_have_no_space_in_front(space):
    made = tokenizer(space)
    texts = {str(made.convert_ids_to_tokens(token)) for token in Lexicon.of(made, 10**6).inside}
    assert {"mar", "ble", "magic", "2024"} <= texts
    assert not any(text.startswith(space) or "#" in text for text in texts)


def test_those_come_first_whose_states_lie_most_in_the_slopes_direction():
    made = tokenizer(BYTE_LEVEL)
    words = ((50, 51), (33,), (34,), (35, 36, 37))
    _, asked, found = compared(made, words)
    states = torch.cat(list(asked.states(sorted(words, key=len), 1)))
    slope = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0))
    cosines = torch.nn.functional.cosine_similarity(states, slope[None])
    assert list(found.likeliest(slope)) == [found.words[index] for index in cosines.argsort(descending=True)]


def direction(model):
    return torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))


def test_an_ending_suits_the_slope_as_it_does_in_the_mean_behind_the_likeliest_words():
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon.of(made, 10**6)
    model, asked, found = compared(made, lexicon.words)
    slope = direction(model)
    first, second, *_ = found.likeliest(slope)
    means = []
    for ending in lexicon.inside:
        states = torch.cat(list(asked.states([(*first, ending), (*second, ending)], 1)))
        means.append(torch.nn.functional.normalize(states, dim=1) @ slope)
    torch.testing.assert_close(found.suited(slope, 2), torch.stack(means).mean(1))


def test_the_likeliest_words_go_on_with_what_is_likely_and_with_what_suits_of_what_is_possible():
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon.of(made, 10**6)
    model, _, found = compared(made, lexicon.words)
    slope, inside = direction(model), torch.tensor(lexicon.inside)
    suited = torch.arange(len(inside)).float().flip(0)
    first, second, *_ = found.likeliest(slope)
    found.lengthen([slope], suited, KeyWordOptions(endings=2, possible=6), begun=2)
    expected = set()
    for word in (first, second):
        with torch.no_grad():
            likely = model(torch.tensor([[*HEAD, *word]])).logits[0, -1, inside].topk(6).indices
        best = likely[suited[likely].topk(2).indices]
        expected |= {(*word, token) for token in inside[torch.cat([likely[:2], best])].tolist()}
    new = set(found.words) - set(lexicon.words)
    assert new and new == {word for word in expected - set(lexicon.words) if lexicon.is_word(word)}
    assert len(found.words) == len(set(found.words)) == len(found._directions)


def test_the_likeliest_by_any_slope_are_made_longer_the_first_eighth_by_more():
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon.of(made, 10**6)
    _, _, found = compared(made, lexicon.words)
    slope = direction(tiny_model())
    asked, seen = found._asked.continued, []

    def continued(words, endings):
        seen.append((list(words), endings.most, endings.possible))
        return asked(words, endings)

    found._asked.continued = continued
    first, last = (list(found.likeliest(one)) for one in (slope, -slope))
    found.lengthen([slope, -slope], torch.zeros(len(lexicon.inside)), KeyWordOptions(endings=2, possible=6), begun=8)
    assert seen[0] == ([first[0]], 8, 12)
    assert set(seen[1][0]) == {*first[1:4], *last[:4]} and seen[1][1:] == (2, 6)


def test_of_the_longer_words_those_are_kept_whose_states_lie_most_in_the_slopes_direction(monkeypatch):
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon.of(made, 10**6)
    found = [compared(made, lexicon.words)[2] for _ in range(2)]
    slope = direction(tiny_model())
    for one, kept in zip(found, (10**6, 3), strict=True):
        monkeypatch.setattr("untrigger.inversion.compared_words.KEPT", kept)
        one.lengthen([slope], torch.zeros(len(lexicon.inside)), KeyWordOptions(endings=4), begun=8)
    every = [word for word in found[0].likeliest(slope) if word not in lexicon.words]
    assert len(every) > 3 and [word for word in found[1].likeliest(slope) if word not in lexicon.words] == every[:3]


def test_what_the_tokenizer_writes_otherwise_is_no_word():
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon(made, ())
    bad, ble = (lexicon.written(text) for text in ("bad", "marble"))
    assert lexicon.is_word(bad) and lexicon.is_word(ble)
    letters = tuple(made.convert_tokens_to_ids(list("bad")))
    assert not lexicon.is_word((made.convert_tokens_to_ids(BYTE_LEVEL), *letters))


def test_words_of_a_vocabulary_without_spaces_stay_as_they_are():
    from tiny import tiny_tokenizer

    _, _, found = compared(tiny_tokenizer(), ((50,), (51,)))
    slope = torch.zeros(found._directions.shape[1])
    found.lengthen([slope], found.suited(slope, 4), KeyWordOptions(), begun=2)
    assert found.words == [(50,), (51,)]


def test_what_is_told_can_end_it():
    def stop(done, total):
        raise Interrupted(f"{done} of {total}")

    with pytest.raises(Interrupted, match="3 of 3"):
        compared(tokenizer(BYTE_LEVEL), ((50,), (51,), (52,)), stop)
