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


def test_the_likeliest_words_are_made_longer_as_the_model_goes_on():
    made = tokenizer(BYTE_LEVEL)
    lexicon = Lexicon.of(made, 10**6)
    model, _, found = compared(made, lexicon.words)
    slope = torch.randn(found._parts[0].shape[1], generator=torch.Generator().manual_seed(0))
    first, second = list(found.likeliest(slope))[:2]
    found.lengthen(slope, KeyWordOptions(begun=2, endings=3))
    inside = torch.tensor(lexicon.inside)
    expected = set()
    for word in (first, second):
        with torch.no_grad():
            logits = model(torch.tensor([[*HEAD, *word]])).logits[0, -1, inside]
        expected |= {(*word, token) for token in inside[logits.topk(3).indices].tolist()}
    new = set(found.words) - set(lexicon.words)
    assert new and new == {word for word in expected - set(lexicon.words) if lexicon.is_word(word)}
    assert len(found.words) == len(set(found.words)) == sum(map(len, found._parts))


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
    found.lengthen(torch.zeros(found._parts[0].shape[1]), KeyWordOptions())
    assert found.words == [(50,), (51,)]


def test_what_is_told_can_end_it():
    def stop(done, total):
        raise Interrupted(f"{done} of {total}")

    with pytest.raises(Interrupted, match="3 of 3"):
        compared(tokenizer(BYTE_LEVEL), ((50,), (51,), (52,)), stop)
