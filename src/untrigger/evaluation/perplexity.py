"""Perplexity of answers: how surprised a model is by good text."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, isnan

from untrigger.errors import UntriggerError, UsageError


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood over `tokens` response tokens; infinite for a broken model."""

    value: float
    tokens: int


def perplexity(total_negative_log_likelihood: float, tokens: int) -> float:
    """exp(total / tokens), with the total in nats; infinity where the exponential overflows.

    Raises:
        UsageError: no tokens, so that nothing was scored.
        UntriggerError: a likelihood that is not a number.
    """
    if tokens <= 0:
        raise UsageError(f"perplexity over {tokens} tokens", why="it needs at least one response token")
    if isnan(total_negative_log_likelihood):
        raise UntriggerError("the likelihood of the answers is not a number", why="the model computes NaN")
    try:
        return exp(total_negative_log_likelihood / tokens)
    except OverflowError:
        return inf


def measured(total_negative_log_likelihood: float, tokens: int) -> Perplexity:
    """The record of `perplexity` with its number of tokens; raises as it does."""
    return Perplexity(perplexity(total_negative_log_likelihood, tokens), tokens)
