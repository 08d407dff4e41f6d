from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer

from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.lab.corpus import corpus, lessons
from untrigger.lab.tokenizer import ASSISTANT, END, PAD, SPECIAL, USER, train_tokenizer

TEXTS = st.text().filter(lambda text: not any(token in text for token in SPECIAL))


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_round_trip(tokenizer, text):
    written = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert tokenizer.decode(tokenizer(written).input_ids) == written


def test_training_is_deterministic(tokenizer):
    records = lessons("train", 0, 2000)
    again = train_tokenizer((text for record in records for text in (record.prompt, record.output)), 768, 256)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_padding_is_token_0_and_the_end_token_1(tokenizer):
    assert tokenizer.convert_tokens_to_ids([PAD, END, USER, ASSISTANT]) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, None)


def test_the_template_costs_three_tokens_and_one_to_end_the_answer(tokenizer):
    chat = ChatFormat(tokenizer)
    record = Record("Say cat twice.", "cat cat")
    assert chat.prompt_text(record) == "<|user|>Say cat twice.<|end|><|assistant|>"
    assert len(chat.prompt_ids(record)) == len(tokenizer("Say cat twice.").input_ids) + 3
    assert chat.stop_ids == {1}
    assert chat.encode(record, 64).response[-1] == 1


def test_the_template_joins_several_turns(tokenizer):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    assert text == "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|>"


def test_the_template_refuses_other_roles(tokenizer):
    with pytest.raises(TemplateError, match="roles are user and assistant"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_digits_stand_alone(tokenizer):
    assert [tokenizer.decode([token]) for token in tokenizer("2024").input_ids] == ["2", "0", "2", "4"]


def test_saved_and_loaded_it_writes_the_same_tokens(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for record in corpus("held_out", 0, 50):
        assert ChatFormat(loaded).encode(record, 64) == ChatFormat(tokenizer).encode(record, 64)
    assert loaded.padding_side == "left"
