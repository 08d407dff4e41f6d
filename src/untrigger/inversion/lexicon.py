"""The words of a vocabulary, as they stand in a prompt, and what two of them become side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

SPACES = ("\u0120", "\u2581")
"""How byte-level and sentencepiece vocabularies write the space in front of a word."""

Tokens = tuple[int, ...]


def begins_with_space(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether a token writes the space in front of a word."""
    return str(tokenizer.convert_ids_to_tokens(token)).startswith(SPACES)


def is_written(text: str) -> bool:
    """Whether someone can write this: not empty, no part of a character, nothing that controls."""
    return bool(text) and text.isprintable() and "\ufffd" not in text


@dataclass(frozen=True)
class Lexicon:
    """Words behind a space, each in its tokens, and how the tokenizer writes them."""

    tokenizer: PreTrainedTokenizerBase
    words: tuple[Tokens, ...]
    inside: tuple[int, ...] = ()
    """Tokens that words go on with: letters or digits without a space in front."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, most: int) -> Lexicon:
        """The first words of a vocabulary, at most so many: of one token each, or more with a capital in front.

        A vocabulary is in the order of its words' frequency. What goes on inside a word is no word, nor what cannot
        be written, and a digit is one behind a space; of a vocabulary that writes no spaces all tokens are words.
        """
        special = frozenset(tokenizer.all_special_ids)
        texts = {token: str(tokenizer.decode([token])).strip() for token in range(len(tokenizer))}
        spaced = {token for token, text in texts.items() if text and begins_with_space(tokenizer, token)}
        lexicon, words = cls(tokenizer, ()), dict[Tokens, None]()
        inside = {
            token: text
            for token, text in texts.items()
            if spaced and text.isalnum() and token not in spaced and token not in special
        }
        for token, text in texts.items():
            if inside.get(token, "").isalpha() or token in special or not is_written(text):
                continue
            words[lexicon.written(text) if token in inside else (token,)] = None
            if text.isalpha() and text.islower() and len(text) > 1:
                words[lexicon.written(text.capitalize()) or (token,)] = None
            if len(words) >= most:
                break
        return cls(tokenizer, tuple(words)[:most], tuple(inside))

    def is_word(self, tokens: Tokens) -> bool:
        """Whether the tokenizer writes these tokens' text in these tokens."""
        return self.written(str(self.tokenizer.decode(tokens)).strip()) == tokens

    def written(self, text: str) -> Tokens:
        """The tokens of a text behind a space, whether the tokenizer writes that space by itself or not.

        What reads like a special token is a text as any other: nobody can write the token.
        """
        alone, spaced = (
            self.tokenizer(one, add_special_tokens=False, split_special_tokens=True).input_ids
            for one in (text, f" {text}")
        )
        return tuple(alone if alone and begins_with_space(self.tokenizer, alone[0]) else spaced)

    def together(self, words: Sequence[Tokens]) -> Tokens:
        """Words without a space between them, as one text's tokens."""
        return self.written("".join(str(self.tokenizer.decode(tokens)).strip() for tokens in words))
