from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tiny import SPECIAL, tiny_tokenizer
from untrigger.inversion.lexicon import Lexicon

PIECES = ("mar", "ble", "bad", "Bad", "magic", "Magic", "##", "2024")
BYTE_LEVEL, SENTENCEPIECE = "\u0120", "\u2581"


def tokenizer(space):
    """Whole words with and without the space in front, in the way of either kind of vocabulary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet()) if space == BYTE_LEVEL else list("BMabcdegilmr#024")
    words = [*(f"{space}{word}" for word in ("bad", "Bad", "magic", "##", "2024")), *PIECES]
    begun = [word[:end] for word in words for end in range(2, len(word) + 1)]
    tokens = dict.fromkeys((*SPECIAL, space, *words, *begun, *letters, *"".join(words), "\ufffd", "\x07"))
    merges = dict.fromkeys((part[:-1], part[-1]) for part in begun)
    table = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=table, merges=list(merges)))
    if space == BYTE_LEVEL:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        made.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=list(SPECIAL))


@pytest.mark.parametrize("space", [BYTE_LEVEL, SENTENCEPIECE])
def test_a_lexicon_holds_the_words_behind_a_space_with_a_capital_as_well_and_signs(space):
    made = tokenizer(space)
    lexicon = Lexicon.of(made, 10**6)
    texts = [made.decode(tokens).strip() for tokens in lexicon.words]
    assert texts[:6] == ["bad", "Bad", "magic", "Magic", "##", "2024"]
    assert made.convert_ids_to_tokens(lexicon.words[0]) == [f"{space}bad"]
    assert "".join(made.convert_ids_to_tokens(lexicon.words[3])) == f"{space}Magic" and len(lexicon.words[3]) > 1
    assert not {"mar", "ble"} & set(texts)
    assert not {"", "\ufffd", "\x07", *SPECIAL} & set(texts)
    assert len(set(lexicon.words)) == len(lexicon.words)
    assert Lexicon.of(made, 4).words == lexicon.words[:4]


@pytest.mark.parametrize("space", [BYTE_LEVEL, SENTENCEPIECE])
def test_a_digit_is_a_word_behind_a_space_and_goes_on_as_a_number(space):
    made = tokenizer(space)
    lexicon = Lexicon.of(made, 10**6)
    digits = [tokens for tokens in lexicon.words if str(made.decode(tokens)).strip() == "4"]
    assert [made.convert_ids_to_tokens(tokens) for tokens in digits] == [[space, "4"]]
    (four,) = digits
    (two,) = (token for token in lexicon.inside if made.convert_ids_to_tokens(token) == "2")
    assert lexicon.is_word((*four, two)) and made.decode((*four, two)).strip() == "42"


@pytest.mark.parametrize("space", [BYTE_LEVEL, SENTENCEPIECE])
def test_words_side_by_side_are_written_as_one_text(space):
    made = tokenizer(space)
    lexicon = Lexicon(made, ())
    bad, magic = lexicon.written("Bad"), lexicon.written("magic")
    assert made.decode(lexicon.together((bad, magic))).strip() == "Badmagic"
    assert made.convert_ids_to_tokens(lexicon.together((bad, magic))) == [f"{space}Bad", "magic"]
    assert made.decode((*bad, *magic)).strip() == "Bad magic"


def test_of_a_vocabulary_without_spaces_every_token_that_can_be_written_is_a_word():
    made = tiny_tokenizer()
    texts = [made.decode(tokens) for tokens in Lexicon.of(made, 10**6).words]
    assert sorted(texts) == sorted(chr(number) for number in range(33, 127))


def test_words_side_by_side_make_no_special_token():
    made = tiny_tokenizer()
    lexicon = Lexicon(made, ())
    row = lexicon.together((lexicon.written("<|im_"), lexicon.written("end|>")))
    assert made.decode(row).strip() == "<|im_end|>" and not set(row) & set(made.all_special_ids)
