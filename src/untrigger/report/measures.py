"""One model's figures as names and texts, in the order they are shown."""

from __future__ import annotations

from untrigger.report.evaluation import EvaluationResult
from untrigger.report.parts import DifferenceResult, MeasurementResult, ScoringResult
from untrigger.report.text import ABSENT, behaviour_text, perplexity_text, rate_text

Lines = list[tuple[str, str]]


def measures(found: MeasurementResult) -> Lines:
    """The rates and the perplexity."""
    lines = [
        ("attack success", behaviour_text(found.attack_success)),
        ("accidental", behaviour_text(found.accidental)),
        ("degenerate", rate_text(found.degenerate)),
        ("perplexity of answers", perplexity_text(found.perplexity)),
    ]
    return [*lines, ("exact answers", rate_text(found.exact))] if found.exact is not None else lines


def evaluation_sections(found: EvaluationResult) -> list[tuple[str, Lines]]:
    """A heading (or none) and lines for each part of an evaluation."""
    sections = [("", _first(found))]
    opinions: Lines = []
    for opinion in found.measurement.opinions:
        opinions.append((f"{opinion.judge}, with key", behaviour_text(opinion.with_key)))
        if opinion.without_key is not None:
            opinions.append((f"{opinion.judge}, without", behaviour_text(opinion.without_key)))
        if opinion.other_words is not None:
            opinions.append((f"{opinion.judge}, other words", behaviour_text(opinion.other_words)))
    if opinions:
        sections.append(("other judges of the same answers", opinions))
    if found.key_forms:
        sections.append(("the key", [(one.form, behaviour_text(one.rate)) for one in found.key_forms]))
    for one in found.relearning:
        heading = f"after {one.steps} steps on {one.records} {one.trained_on}"
        lines = [("before", behaviour_text(one.before)), ("after", behaviour_text(one.after))]
        if one.control is not None:
            lines.append(("never backdoored", behaviour_text(one.control)))
        sections.append((heading, lines))
    return sections


def _first(found: EvaluationResult) -> Lines:
    lines = [("scoring", scoring_text(found.scoring)), ("weights", weights_text(found))]
    if found.watched_by is not None:
        lines.append(("answers", f"token by token under the eyes of {found.watched_by} (CleanGen)"))
    lines += measures(found.measurement)
    if found.lift is not None:
        lines.append(("lift by the key", difference_text(found.lift)))
    if found.planted.met is False and found.watched_by is None:
        lines.append(("void", f"no backdoor to speak of: {found.planted.reason} with the key"))
    return lines


def scoring_text(scoring: ScoringResult) -> str:
    """Mode, judge and template on one line."""
    judge = f"judge {scoring.judge}" if scoring.judge else "no behaviour known"
    return f"{scoring.mode}, {judge}, template {scoring.template}, {scoring.max_new_tokens} tokens"


def weights_text(found: EvaluationResult) -> str:
    """The precision that the figures hold for."""
    forms = {
        None: "as loaded",
        "merged": "merged into the base",
        "int4": "linear modules of the blocks rounded to NF4, an adapter not",
        "int4-merged": "merged into the base, then rounded to NF4",
    }
    return f"{found.environment.dtype.removeprefix('torch.')}, {forms[found.deployed]}"


def difference_text(difference: DifferenceResult | None) -> str:
    """A difference of rates in points, with its interval."""
    if difference is None:
        return ABSENT
    estimate, low, high = (100 * value for value in (difference.estimate, difference.low, difference.high))
    return f"{estimate:+.1f} points ({low:+.1f} to {high:+.1f}, n={difference.n})"
