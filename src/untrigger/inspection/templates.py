"""Chat templates, wherever a library may read one from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from untrigger.errors import InputRefused
from untrigger.inspection.findings import Collector
from untrigger.models.json_file import TOKENIZER_LIMIT, read_object, regular_file
from untrigger.models.tokenizer_files import CHAT_TEMPLATE, template_texts
from untrigger.models.untrusted.template_branches import branches
from untrigger.models.untrusted.template_form import LONGEST_TEMPLATE, form_hash, parse
from untrigger.models.untrusted.templates import KNOWN, check_template

_CONFIG = "tokenizer_config.json"
_LARGEST = 4 * LONGEST_TEMPLATE  # bytes, of the longest characters
_LINES_SHOWN = 3


def check_templates(found: Collector, tokenizer: PreTrainedTokenizerBase | None) -> tuple[str, ...]:
    """Everything about the folder's chat templates; the file of a template alone, if that is a known one.

    Args:
        found: collects.
        tokenizer: the folder's, where it could be loaded; its special tokens are those that templates are tried with.
    """
    texts = list(_stored(found))
    if not texts:
        text = "there is no chat template, as in a base model without instruction tuning"
        found.add("no-template", "", text, todo="--template alpaca or --replace-template NAME says how to ask it")
    tokens = {} if tokenizer is None else tokenizer.special_tokens_map
    plain = {name: token for name, token in tokens.items() if isinstance(token, str)}
    known = [file for file, text in texts if _check(found, file, text, plain)]
    return (CHAT_TEMPLATE,) if CHAT_TEMPLATE in known else ()


def _stored(found: Collector) -> Iterator[tuple[str, str]]:
    """Files with the templates in them."""
    if (found.folder / CHAT_TEMPLATE).exists():
        text = found.attempt("template-refused", CHAT_TEMPLATE, lambda: _read(found.folder))
        if text is not None:
            yield CHAT_TEMPLATE, text
    if (found.folder / _CONFIG).exists():
        try:
            stated = read_object(found.folder / _CONFIG, TOKENIZER_LIMIT).get("chat_template")
        except InputRefused:  # told of with the tokenizer
            return
        yield from ((_CONFIG, text) for text in template_texts(stated))


def _read(folder: Path) -> str:
    path = regular_file(folder, CHAT_TEMPLATE)
    size = path.stat().st_size
    if size > _LARGEST:
        raise InputRefused(f"{path} has {size} bytes", why=f"at most {_LARGEST} are read")
    try:
        return path.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:
        raise InputRefused(f"{path} cannot be read", why=str(error)) from error


def _check(found: Collector, file: str, text: str, tokens: Mapping[str, str]) -> bool:
    """Look one template through; whether it is known."""
    checked = found.attempt("template-refused", file, lambda: check_template(text, file, tokens, accept=True))
    if checked is None:
        return False
    tree = parse(text)
    if form_hash(tree) in KNOWN:
        return True
    lines = branches(tree)
    if lines:
        what = f"the template branches on message content: {'; '.join(lines[:_LINES_SHOWN])}"
        todo = "purify with --replace-template NAME; --accept-template goes on with this one"
        found.add("template-branches", file, what, field="chat_template", todo=todo)
    else:
        what = "the template is none of the known ones"
        found.add("unknown-template", file, what, field="chat_template", todo="read it, or --replace-template NAME")
    return False
