"""Rows 23 to 25: tokenizers."""

from __future__ import annotations

import json
from collections.abc import Callable

from cases import DONE, Case, Ended, Place, Row, evaluate, kinds, scan, scan_finds
from transformers import AutoTokenizer

from hostile import edit

FILE = "tokenizer.json"


def numbered(**tokens: object) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        values = json.loads((place.model / FILE).read_text())
        values["model"]["vocab"] |= tokens
        (place.model / FILE).write_text(json.dumps(values))

    return spoil


def added_twice(place: Place) -> None:
    values = json.loads((place.model / FILE).read_text())
    values["added_tokens"].append(values["added_tokens"][0] | {"content": "evil", "id": 80})
    (place.model / FILE).write_text(json.dumps(values))


def longer(*, special: bool) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        tokenizer = AutoTokenizer.from_pretrained(place.model)
        tokenizer.add_tokens([f"<filler {number}>" for number in range(10)], special_tokens=special)
        tokenizer.save_pretrained(place.model)

    return spoil


def far_end(place: Place) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place.model)
    tokenizer.add_tokens([f"<filler {number}>" for number in range(10)])
    tokenizer.add_special_tokens({"eos_token": "<far>"})
    tokenizer.save_pretrained(place.model)


def bad_merges(place: Place) -> None:
    values = json.loads((place.model / FILE).read_text())
    values["model"]["merges"] = [["a", "b"]]
    (place.model / FILE).write_text(json.dumps(values))


def split_by(expression: str) -> Callable[[Place], None]:
    splitter = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return lambda place: edit(place.model / FILE, pre_tokenizer=splitter)


def other_vocabulary(place: Place) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place.model)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(place.adapter)


def smaller_embedding(place: Place) -> None:
    """The adapter was trained on a model with more tokens than its base has."""
    tokenizer = AutoTokenizer.from_pretrained(place.model)
    tokenizer.add_tokens([f"<filler {number}>" for number in range(10)])
    tokenizer.save_pretrained(place.adapter)


def lacks_rows(place: Place, ended: Ended) -> None:
    assert set(kinds(ended)) == {"token-without-row"}


def sentencepiece(content: bytes) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        (place.model / FILE).unlink()
        (place.model / "tokenizer.model").write_bytes(content)
        edit(place.model / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")

    return spoil


def written(content: bytes) -> Callable[[Place], object]:
    return lambda place: (place.model / FILE).write_bytes(content)


NO_TOKENIZER = {"no JSON": b"not json", "no text": b"\x00\x01"}
NUMBERS = {"negative": -1, "a fraction": 1.5, "a text": "3", "null": None, "true": True}
BOMBS = {
    "`(a+)+$`": "(a+)+$",
    "`(a|aa)+$`": "(a|aa)+$",
    "`(x+x+)+y`": "(x+x+)+y",
    "words or two": r"(\w|\w\w)*\W$",
    "brackets that are not closed": "(" * 300,
}
CORRUPT = {
    "bytes that are nothing": b"\x00\x01garbage",
    "a message cut short": b"\n\x0f\n\x05<unk>\x15\x00\x00",
    "text": b"x" * 1000,
}
ROWS = (
    Row(
        23,
        "A tokenizer that contradicts itself or the model",
        "Refused with the token and its number. Unknown regular expressions are tried in a process with a limit of"
        " time. Special tokens without an embedding are told of.",
        (
            Case("two tokens with one number", numbered(evil=70), (FILE, "'evil' share number 70")),
            Case("an added token with another's number", added_twice, (FILE, "'evil' share number 80")),
            *(
                Case(f"a number that is {kind}", numbered(evil=value), (FILE, "'evil' has number"))
                for kind, value in NUMBERS.items()
            ),
            *(
                Case(f"number {number:,}", numbered(evil=number), ("'evil'", str(number), "264 embeddings"))
                for number in (264, 10**6, 2**31)
            ),
            Case("added tokens without an embedding", longer(special=False), ("264", "have no embedding")),
            Case("an end token without one", far_end, ("end token has number 269", "264 embeddings")),
            *(Case(name, written(content), (FILE,)) for name, content in NO_TOKENIZER.items()),
            Case("merges of tokens that are not there", bad_merges, ("the tokenizer fails",)),
            *(Case(name, split_by(text), (FILE, "regular expression")) for name, text in BOMBS.items()),
            Case("an expression of 3,000 characters", split_by("a" * 3000), (FILE, "3000 characters")),
            Case(
                "special tokens without an embedding",
                longer(special=True),
                (),
                DONE,
                evaluate(),
                lacks_rows,
            ),
            Case("scan", numbered(evil=70), (), 3, scan(), scan_finds("tokenizer-refused"), shown=False),
        ),
    ),
    Row(
        24,
        "An adapter with another vocabulary than its base",
        "Refused with both sizes.",
        (
            Case("a token more", other_vocabulary, ("260 tokens", "the base's 259"), of="adapter"),
            Case(
                "more tokens than the base has embeddings",
                smaller_embedding,
                ("269 tokens", "the base's 259"),
                of="adapter",
            ),
        ),
    ),
    Row(
        25,
        "A corrupt `tokenizer.model`",
        "Refused.",
        tuple(Case(name, sentencepiece(content), ("tokenizer",)) for name, content in CORRUPT.items()),
    ),
)
