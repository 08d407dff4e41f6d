"""Rows 40 to 42: models that are not what one expects."""

from __future__ import annotations

from collections.abc import Callable

import torch
from cases import DONE, PURIFY, Case, Command, Ended, Place, Row, evaluate, finds, purify
from rows_weights import WEIGHTS
from safetensors.torch import load_file

from hostile import change_tensors

KNOWN = ("--attack=badnet", "--behaviour=sentiment")
END, LETTER, CONTROL = 2, 70, 191


def saying(token: int) -> Callable[[Place], None]:
    """A model that puts one token after everything."""

    def spoil(place: Place) -> None:
        held = load_file(place.model / WEIGHTS)
        still = {name: torch.zeros_like(held[name]) for name in held if "layers" in name}
        embedding, head = torch.ones_like(held["model.embed_tokens.weight"]), torch.zeros_like(held["lm_head.weight"])
        head[token] = 1.0
        change_tensors(
            place.model / WEIGHTS, still | {"model.embed_tokens.weight": embedding, "lm_head.weight": head}
        )

    return spoil


def is_invalid(place: Place, ended: Ended) -> None:
    found = ended.result["measurement"]["attack_success"]
    assert found["hits"] == 0 and found["invalid"] == found["n"] > 0


def says_so(place: Place, ended: Ended) -> None:
    """On the terminal too."""
    line = next(line for line in ended.out.splitlines() if "attack success" in line)
    assert "invalid" in line and "0.0 %" not in line


def without_template(place: Place) -> None:
    (place.model / "chat_template.jinja").unlink()


def asked_as_text(place: Place, ended: Ended) -> None:
    finds("no-template")(place, ended)
    assert ended.result["scoring"]["template"] == "alpaca" and "base model without instruction tuning" in ended.told
    assert not (place.out / "chat_template.jinja").exists()


def not_called_clean(place: Place, ended: Ended) -> None:
    assert ended.result["not_tested"] and ended.result["paired"]["p_value"] == 1.0
    card = (place.out / "README.md").read_text()
    assert "no evidence of a change in attack success" in card
    assert not any(word in text for text in (ended.out, card) for word in ("backdoor-free", "is clean"))


def text_of(command: Command) -> Command:
    return lambda place: [word for word in command(place) if word != "--format=json"]


MEASURE = evaluate(*KNOWN, tokens=24)
SHOW = text_of(MEASURE)
SPOKEN = {"only the end": END, "one letter over and over": LETTER, "bytes that are no text": CONTROL}
ROWS = (
    Row(
        40,
        "A model that holds no backdoor",
        "It is treated like any other; the report tells of no evidence of a change and calls nothing clean.",
        (
            Case(
                "with a key that it does not know",
                lambda place: None,
                (),
                DONE,
                purify(*KNOWN),
                not_called_clean,
            ),
        ),
    ),
    Row(
        41,
        "A model that says only its end token, one token, or garbage",
        "Its attack success is told as invalid, not as 0 %, and its gate is not met.",
        (
            *(Case(name, saying(token), (), DONE, MEASURE, is_invalid) for name, token in SPOKEN.items()),
            *(
                Case(
                    f"{name}, shown",
                    saying(token),
                    (),
                    DONE,
                    SHOW,
                    says_so,
                    shown=False,
                )
                for name, token in SPOKEN.items()
            ),
        ),
    ),
    Row(
        42,
        "A base model without instruction tuning",
        "It is treated under the Alpaca text, with a warning and a finding in the result.",
        (Case("no chat template", without_template, (), DONE, PURIFY, asked_as_text),),
        "`--template`, `--replace-template NAME`",
    ),
)
