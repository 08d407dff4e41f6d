"""Token numbers: each belongs to one token, and each token to a row of the embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from untrigger.errors import InputRefused
from untrigger.models.untrusted.finding import Finding


def refuse_shared_numbers(path: Path, values: Mapping[str, object]) -> None:
    """Look through the vocabulary of a tokenizer.json.

    Raises:
        InputRefused: a number that is none, or that two tokens share.
    """
    taken: dict[int, str] = {}
    for token, number in _numbered(path, values):
        if type(number) is not int or number < 0:
            raise InputRefused(f"{path}: token {token[:40]!r} has number {str(number)[:40]}")
        if taken.setdefault(number, token) != token:
            raise InputRefused(f"{path}: tokens {taken[number][:40]!r} and {token[:40]!r} share number {number}")


def check_rows(tokenizer: PreTrainedTokenizerBase, rows: int) -> tuple[Finding, ...]:
    """Compare the largest token number with the rows of the model's embedding.

    Special tokens may lie beyond it (Gemma 3 has one for images): they are told of.

    Raises:
        InputRefused: an ordinary token without a row, or the end or padding token.
    """
    for kind, number in (("end", tokenizer.eos_token_id), ("padding", tokenizer.pad_token_id)):
        if not 0 <= number < rows:
            raise InputRefused(f"the {kind} token has number {number}, the model {rows} embeddings")
    special = set(tokenizer.all_special_ids)
    special |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    for number, token in sorted(beyond.items()):
        if number not in special:
            raise InputRefused(
                f"the tokenizer's token {token[:40]!r} has number {number}, the model {rows} embeddings",
                why=f"{len(beyond)} tokens have no embedding",
                todo="take the tokenizer that belongs to the model",
            )
    return tuple(
        Finding("token-without-row", "tokenizer", f"special token {token[:40]!r} ({number}) has no embedding")
        for number, token in sorted(beyond.items())[:10]
    )


def _numbered(path: Path, values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    model, added = values.get("model"), values.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
        raise InputRefused(f"{path}: added_tokens is no list of objects")
    for one in added:
        yield str(one.get("content")), one.get("id")
