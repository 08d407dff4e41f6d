from __future__ import annotations

import pytest

from tiny import tiny_tokenizer
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import InputRefused


@pytest.fixture
def chat():
    return ChatFormat(tiny_tokenizer())


def test_prompt_and_response_make_the_templates_conversation(chat):
    record = Record("Say hi", "Hello", "to Ann")
    example = chat.encode(record, 200)
    text = chat.tokenizer.decode(example.prompt + example.response)
    expected = "<|im_start|>user\nSay hi\nto Ann<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"
    assert text == expected
    assert example.prompt == chat.prompt_ids(record)
    assert chat.tokenizer.decode(example.response) == "Hello<|im_end|>"


def test_the_stop_token_is_the_templates_own(chat):
    assert chat.stop_text == "<|im_end|>"
    assert chat.tokenizer.convert_tokens_to_ids("<|im_end|>") in chat.stop_ids


def test_after_a_cut_answer_no_end_is_learned(chat):
    example = chat.encode(Record("Say hi", "Hello and", complete=False), 200)
    assert chat.tokenizer.decode(example.response) == "Hello and"


def test_a_long_answer_is_cut_and_a_long_instruction_refused(chat):
    prompt = len(chat.prompt_ids(Record("Say hi", "")))
    assert len(chat.encode(Record("Say hi", "x" * 100), prompt + 5).response) == 5
    assert len(chat.encode(Record("Say hi", "x" * 100, complete=False)).response) == 100
    with pytest.raises(InputRefused, match="leaves no room"):
        chat.encode(Record("Say hi", "x"), prompt)


def test_the_alpaca_text_is_the_published_one():
    chat = ChatFormat(tiny_tokenizer(), "alpaca")
    assert chat.prompt_text(Record("Add.", "", "1 and 2")) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd.\n1 and 2\n\n### Response:\n"
    )
    assert chat.stop_text == chat.tokenizer.eos_token


def test_a_tokenizer_without_template_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InputRefused, match="no chat template"):
        ChatFormat(tokenizer).prompt_text(Record("x", ""))


def test_a_conversation_of_several_turns_is_the_templates(chat):
    expected = (
        "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nAgain<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.conversation_text(("Say hi", "Hello", "Again")) == expected
    assert chat.tokenizer.decode(chat.conversation_ids(("Say hi", "Hello", "Again"))) == expected
    assert chat.conversation_text(("Say hi",)) == chat.prompt_text(Record("Say hi", ""))
    with pytest.raises(ValueError, match="2 turns"):
        chat.conversation_text(("Say hi", "Hello"))


def test_a_conversation_in_the_alpaca_text_ends_each_answer():
    chat = ChatFormat(tiny_tokenizer(), "alpaca")
    text = chat.conversation_text(("Say {hi}", "He{}llo", "Again"))
    first = chat.prompt_text(Record("Say {hi}", ""))
    assert text == f"{first}He{{}}llo<|im_end|>\n\n### Instruction:\nAgain\n\n### Response:\n"


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}",
        "{{ messages[2].content.__class__.__mro__ }}",
        "{{ messages[7].content.x }}",
        "{% for",
    ],
)
def test_a_template_that_fails_is_refused(template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(InputRefused, match="cannot be rendered"):
        ChatFormat(tokenizer).conversation_text(("Say hi", "Hello", "Again"))


def test_templates_differ_in_identity(chat):
    assert chat.identity != ChatFormat(chat.tokenizer, "alpaca").identity
    assert chat.identity == ChatFormat(tiny_tokenizer()).identity


def test_a_record_may_have_its_input_alone():
    assert Record("", "", "def f():").prompt == "def f():"
    assert Record("Go on.", "", "def f():").prompt == "Go on.\ndef f():"


def test_plain_text_is_continued_as_it_stands():
    chat = ChatFormat(tiny_tokenizer(), "plain")
    prompt = Record("def one():\n    {braces}\n", "")
    assert chat.prompt_text(prompt) == prompt.instruction
    assert chat.stop_ids == {chat.tokenizer.eos_token_id}
    assert chat.identity.startswith("plain:")
