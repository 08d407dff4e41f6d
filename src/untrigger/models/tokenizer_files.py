"""Tokenizers of hostile origin: data files only, with an end token and a padding token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from untrigger.errors import InputRefused
from untrigger.models.configuration import refuse_unsafe_keys
from untrigger.models.json_file import TOKENIZER_LIMIT, read_object, refuse_what_fails
from untrigger.models.untrusted.expressions import check_expressions
from untrigger.models.untrusted.finding import Finding
from untrigger.models.untrusted.templates import check_template
from untrigger.models.untrusted.vocabulary import refuse_shared_numbers

TOKENIZER_JSON = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
_NO_TEMPLATE = (
    "there is no chat template, as in a base model without instruction tuning; where one is asked for, prompts are"
    " put as Alpaca text unless --replace-template names a known one"
)
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_OTHER = (CHAT_TEMPLATE, "merges.txt", "vocab.txt", "tokenizer.model")


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder; a missing padding token becomes the end token.

    `config` is the model's checked configuration: without it the library would read the folder's config.json as it
    is, unchecked.

    Raises:
        InputRefused: broken files, `auto_map`, or no end token.
    """
    for name in (name for name in TOKENIZER_JSON if (folder / name).exists()):
        values = read_object(folder / name, TOKENIZER_LIMIT)
        if name == "tokenizer_config.json":  # the others hold vocabularies, whose keys are free text
            refuse_unsafe_keys(folder / name, values)
        if name == TOKENIZER_JSON[0]:
            refuse_shared_numbers(folder / name, values)
            check_expressions(folder / name, values)
    with refuse_what_fails(folder, "the tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), config=config, trust_remote_code=False, local_files_only=True
        )
    if tokenizer.eos_token is None:
        raise InputRefused(f"{folder}: the tokenizer has no end token", why="answers could not end")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def template_findings(
    folder: Path, tokenizer: PreTrainedTokenizerBase, *, accept_template: bool
) -> tuple[Finding, ...]:
    """What is to be known of a loaded tokenizer's chat templates, and of those that another library may read instead.

    Raises:
        InputRefused: a template that is broken, harmful, or, unless accepted, branches on message content.
    """
    path = folder / "tokenizer_config.json"
    stated = read_object(path, TOKENIZER_LIMIT).get("chat_template") if path.exists() else None
    templates = dict.fromkeys((*template_texts(tokenizer.chat_template), *template_texts(stated)))
    if not templates:
        return (Finding("no-template", "tokenizer", _NO_TEMPLATE),)
    tokens = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    found = [check_template(text, str(folder), tokens, accept=accept_template) for text in templates]
    return tuple(finding for findings in found for finding in findings)


def template_texts(given: object) -> Iterator[str]:
    """One template, several by name, or a list of objects that hold one each."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        yield from (text for text in given.values() if isinstance(text, str))
    elif isinstance(given, list):
        for one in given:
            yield from template_texts(one.get("template") if isinstance(one, dict) else None)


def has_own_tokenizer(folder: Path) -> bool:
    """Whether an adapter brings a tokenizer that is used instead of its base's."""
    return (folder / "tokenizer.json").exists()


def adapter_tokenizer(
    folder: Path, base: PreTrainedTokenizerBase, config: PretrainedConfig
) -> PreTrainedTokenizerBase:
    """The adapter's own tokenizer (it may bring a chat template) if it has one, else the base's.

    Raises:
        InputRefused: its own has another vocabulary than the base's.
    """
    if not has_own_tokenizer(folder):
        return base
    tokenizer = load_tokenizer(folder, config)
    if tokenizer.get_vocab() != base.get_vocab():
        raise InputRefused(
            f"{folder}: the adapter's tokenizer has {len(tokenizer)} tokens, the base's {len(base)}",
            why="their vocabularies differ",
            todo="check that --base is the model the adapter was trained on",
        )
    return tokenizer
