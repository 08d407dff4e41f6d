"""Tokenizer files: consistent, and without parts that change what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from untrigger.inspection.findings import Collector
from untrigger.models.configuration import unsafe_keys
from untrigger.models.json_file import TOKENIZER_LIMIT, read_object
from untrigger.models.tokenizer_files import TOKENIZER_JSON, load_tokenizer
from untrigger.models.untrusted.expressions import check_expressions
from untrigger.models.untrusted.vocabulary import check_rows, refuse_shared_numbers

CONFIG = "tokenizer_config.json"
_TOKENIZER = TOKENIZER_JSON[0]
_PIPELINE = ("normalizer", "pre_tokenizer", "decoder")
# How SentencePiece's vocabularies write a space, in both directions, and the trimming of repeated ones.
_USUAL = frozenset({(" ", "▁"), ("▁", " "), (" {2,}", "▁"), (" {2,}", " "), ("", "▁")})
_SHOWN = 5
_WORD = 40


def check_tokenizer(
    found: Collector, config: PretrainedConfig | None, rows: int | None
) -> PreTrainedTokenizerBase | None:
    """Everything about the folder's tokenizer; the tokenizer itself if it is one.

    Args:
        found: collects.
        config: the model's checked configuration; without it the tokenizer is not loaded, only its files are read.
        rows: rows of the model's embedding, None where there is no model.
    """
    sound = True
    for name in TOKENIZER_JSON:
        if (found.folder / name).exists():
            sound = _check_file(found, name) and sound
    if config is None or not sound:
        return None
    tokenizer = found.attempt("tokenizer-refused", _TOKENIZER, lambda: load_tokenizer(found.folder, config))
    if tokenizer is not None and rows is not None:
        beyond = found.attempt("tokenizer-refused", _TOKENIZER, lambda: check_rows(tokenizer, rows))
        for one in beyond or ():
            found.add("token-without-row", _TOKENIZER, one.text)
    return tokenizer


def _check_file(found: Collector, name: str) -> bool:
    """Whether the file is fit to be loaded."""
    path = found.folder / name
    values = found.attempt("tokenizer-refused", name, lambda: read_object(path, TOKENIZER_LIMIT))
    if values is None:
        return False
    if name == CONFIG:
        refused = unsafe_keys(path, values)
        for key, refusal in refused.items():
            found.refusal("tokenizer-refused", name, refusal, field=key)
        return not refused
    if name != _TOKENIZER:
        return True
    _check_pipeline(found, values)
    numbers = found.passes("tokenizer-refused", name, lambda: refuse_shared_numbers(path, values))
    expressions = found.passes("tokenizer-refused", name, lambda: check_expressions(path, values))
    return numbers and expressions


def _check_pipeline(found: Collector, values: Mapping[str, object]) -> None:
    for part in _PIPELINE:
        for old, new in _replacements(values.get(part)):
            if (old, new) not in _USUAL:
                text = f"{part} replaces {old[:_WORD]!r} by {new[:_WORD]!r} in every text"
                found.add("rewritten-text", _TOKENIZER, text, field=part, todo="compare it with the model's source")
    added = list(_objects(values.get("added_tokens")))
    special = {str(one.get("content")) for one in added if one.get("special")}
    put = sorted({token for token in _template_tokens(values.get("post_processor")) if token not in special})
    if put:
        text = f"post_processor puts {', '.join(repr(token[:_WORD]) for token in put[:_SHOWN])} around every text"
        found.add("added-text", _TOKENIZER, text, field="post_processor", todo="compare it with the model's source")
    ordinary = sorted(str(one.get("content")) for one in added if not one.get("special"))
    if ordinary:
        shown = ", ".join(repr(token[:_WORD]) for token in ordinary[:_SHOWN])
        text = f"{len(ordinary)} added tokens are not special, among them {shown}"
        found.add("ordinary-added-tokens", _TOKENIZER, text, field="added_tokens")


def _replacements(value: object) -> Iterator[tuple[str, str]]:
    """Patterns with what they are replaced by, and prefixes, in a part of the pipeline however deep."""
    if isinstance(value, Mapping):
        if value.get("type") == "Replace":
            yield _pattern(value.get("pattern")), str(value.get("content"))
        if value.get("type") == "Prepend":
            yield "", str(value.get("prepend"))
        for inner in value.values():
            yield from _replacements(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _replacements(inner)


def _pattern(value: object) -> str:
    return str(next(iter(value.values()), "")) if isinstance(value, Mapping) else str(value)


def _template_tokens(value: object) -> Iterator[str]:
    """Special tokens that a post-processor names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "SpecialToken" and isinstance(inner, Mapping):
                yield str(inner.get("id"))
            else:
                yield from _template_tokens(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _template_tokens(inner)


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, Sequence):
        yield from (one for one in value if isinstance(one, Mapping))
