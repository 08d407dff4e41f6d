"""Published chat templates that can be put in the place of a model's own, which nobody here has to trust then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from untrigger.errors import UsageError
from untrigger.models.untrusted.finding import Finding

_CHATML_TURNS = (
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CHATML_MARKS = ("<|im_start|>", "<|im_end|>")
_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)


@dataclass(frozen=True)
class KnownTemplate:
    """A template's text, and the tokens that a vocabulary needs for it."""

    text: str
    marks: tuple[str, ...] = ()


def _chatml(system: str = "") -> KnownTemplate:
    first = f"{{% if loop.first and messages[0]['role'] != 'system' %}}{{{{ '{system}' }}}}{{% endif %}}"
    return KnownTemplate(
        "{% for message in messages %}" + (first if system else "") + _CHATML_TURNS, marks=_CHATML_MARKS
    )


TEMPLATES: Mapping[str, KnownTemplate] = {
    "chatml": _chatml(),
    "smollm2": _chatml(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    ),
    "qwen2": _chatml("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"),
    "llama3": KnownTemplate(
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        "+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "mistral": KnownTemplate(
        "{{ bos_token }}{% for message in messages %}" + _ALTERNATE + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ message['content'] + eos_token}}{% else %}"
        "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
    ),
    "gemma2": KnownTemplate(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
        + _ALTERNATE
        + "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
        "{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
        marks=("<start_of_turn>", "<end_of_turn>"),
    ),
    "phi3": KnownTemplate(
        "{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        marks=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
}
"""Name -> template as it was published; each is known by its form too (`untrusted.templates.KNOWN`)."""


def replace_template_(tokenizer: PreTrainedTokenizerBase, name: str) -> Finding:
    """Give the tokenizer a known template in place of its own, whatever that one says or whether there is one.

    Raises:
        UsageError: an unknown name, or a template whose marks are no tokens of this vocabulary.
    """
    if name not in TEMPLATES:
        raise UsageError(f"no known template is named {name!r}", todo=f"there are {', '.join(TEMPLATES)}")
    known, vocabulary = TEMPLATES[name], tokenizer.get_vocab()
    missing = [mark for mark in known.marks if mark not in vocabulary]
    if missing:
        fitting = [other for other, one in TEMPLATES.items() if all(mark in vocabulary for mark in one.marks)]
        raise UsageError(
            f"template {name} does not fit the tokenizer",
            why=f"{', '.join(missing)} is no token of it",
            todo=f"those that fit by their marks: {', '.join(fitting)}",
        )
    had = "its own" if tokenizer.chat_template else "none"
    tokenizer.chat_template = known.text
    return Finding("template-replaced", "chat template", f"the known template {name} is used in place of {had}")
