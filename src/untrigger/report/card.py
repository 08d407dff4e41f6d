"""The README.md of a purified model: a hub model card that quotes, and never repeats, what it was given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from untrigger.report.parts import TitreResult
from untrigger.report.result import Result
from untrigger.report.terminal import comparison
from untrigger.report.text import behaviour_text, change_text, fenced, markdown, shortened, visible

UPSTREAM_CHARACTERS = 4000
"""More of the upstream card is not quoted."""

_LIBRARY = {"full": "transformers", "adapter": "peft"}
_RELATION = {"full": "finetune", "adapter": "adapter"}


@dataclass(frozen=True)
class Upstream:
    """The purified model's origin: the id for the hub, and what its own card says, if it has one."""

    base_model: str
    licence: str | None = None
    card: str | None = None


def model_card(result: Result, upstream: Upstream, access: Literal["full", "adapter"]) -> str:
    """Front matter for the hub, then what was done, measured and not tested."""
    sections = [
        _front_matter(upstream, access),
        f"# {markdown(upstream.base_model)}, purified",
        _summary(result, upstream),
        "## Measured",
        _table(result),
        _verdict(result),
        "## Limits",
        _limits(result),
        "## How it was made",
        _made(result),
    ]
    if upstream.card is not None:
        sections += ["## The card of the original", _quoted(upstream.card)]
    return "\n\n".join(sections) + "\n"


def _front_matter(upstream: Upstream, access: Literal["full", "adapter"]) -> str:
    licence = [] if upstream.licence is None else [f"license: {_yaml(upstream.licence)}"]
    lines = [
        f"base_model: {_yaml(upstream.base_model)}",
        f"base_model_relation: {_RELATION[access]}",
        f"library_name: {_LIBRARY[access]}",
        *licence,
        "tags:",
        "- backdoor-purified",
        "- untrigger",
    ]
    return "\n".join(["---", *lines, "---"])


def _yaml(text: str) -> str:
    """A double-quoted YAML scalar: JSON's quoting is valid there once no control character is left."""
    return json.dumps(visible(text), ensure_ascii=False)


def _summary(result: Result, upstream: Upstream) -> str:
    return (
        f"A copy of {markdown(upstream.base_model)}, treated against backdoors with untrigger"
        f" {markdown(result.run.version)}. {_finding(result)}"
        " This is evidence about the tests below, no proof that the model holds no backdoor."
    )


def _finding(result: Result) -> str:
    before, after, scoring = result.before.attack_success, result.after.attack_success, result.scoring
    if before is None or after is None:
        return "No key was known, so no attack success could be measured."
    change = "" if result.paired is None else f": {markdown(change_text(result.paired))}"
    return (
        f"Behaviour {markdown(scoring.behaviour or 'unnamed')} under key {markdown(scoring.key or 'unnamed')}"
        f": attack success went from {behaviour_text(before)} to {behaviour_text(after)}{change}."
    )


def _table(result: Result) -> str:
    lines = comparison(result.before, result.after)
    rows = [f"| {markdown(line.label)} | {line.before} | {line.after} |" for line in lines]
    note = (
        "Shares with their 95 % Wilson interval. The key is in the prompts of the first two rows only;"
        " *broken* answers are empty or degenerate; they stay in n."
    )
    return "\n".join(["| measure | before | after |", "|---|---|---|", *rows, "", note])


def _verdict(result: Result) -> str:
    words = {True: "met", False: "not met", None: "not asked"}
    gates = [
        f"- {markdown(gate.name)} ({markdown(gate.rule)}): {words[gate.met]}, {markdown(gate.reason)}"
        for gate in result.verdict.gates
    ]
    return "\n".join([f"Gates {words[result.verdict.met]}.", "", *gates])


def _limits(result: Result) -> str:
    noticed = [f"- {markdown(finding.place)}: {markdown(finding.text)}" for finding in result.findings]
    heading = ["Noticed:", "", *noticed, ""] if noticed else []
    return "\n".join([*heading, "Not tested:", "", *(f"- {markdown(sentence)}" for sentence in result.not_tested)])


def _made(result: Result) -> str:
    signature = result.signature
    suppressed = "No channels were suppressed."
    if signature is not None:
        suppressed = (
            f"Suppressed: {signature.selected} of {signature.channels} channels"
            f" (ratio {signature.ratio:g}); attention heads: {len(signature.heads)}."
        )
    titre = [_titre(result.titre)] if result.titre else []
    options = json.dumps(result.run.options, indent=2, ensure_ascii=True)
    seeds = ", ".join(str(seed) for seed in result.run.seeds)
    how = f"Command {markdown(result.run.command)}, seeds {seeds}, template {markdown(result.scoring.template)}."
    return "\n\n".join([suppressed, *titre, how, fenced(options, "json")])


def _titre(titre: TitreResult) -> str:
    rung = titre.rung
    held = "kept to the target" if titre.met else "missed the target at every strength"
    return (
        f"The strength was chosen on {len(titre.canaries)} backdoors planted in a copy, which {held} of"
        f" {titre.target:.0%}: obeyed on {behaviour_text(titre.planted)} of their prompts before, on"
        f" {behaviour_text(rung.survival)} after the treatment and on {behaviour_text(rung.relearned)} after a short"
        " clean fine-tuning besides. They are shallower than a backdoor that was trained for longer."
    )


def _quoted(card: str) -> str:
    return "Quoted as it was found; nothing in it was checked.\n\n" + fenced(
        shortened(card, UPSTREAM_CHARACTERS), "text"
    )
