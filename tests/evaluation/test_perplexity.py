from math import inf, log, nan

import pytest

from untrigger.errors import UntriggerError, UsageError
from untrigger.evaluation.perplexity import Perplexity, measured, perplexity


def test_a_uniform_guess_has_the_perplexity_of_its_choices() -> None:
    assert perplexity(7 * log(50), 7) == pytest.approx(50)


def test_certainty_has_perplexity_one() -> None:
    assert perplexity(0.0, 3) == 1.0


@pytest.mark.parametrize("total", [1e6, inf])
def test_a_broken_model_has_infinite_perplexity(total: float) -> None:
    assert perplexity(total, 1) == inf


@pytest.mark.parametrize("tokens", [0, -1])
def test_no_tokens_are_an_error(tokens: int) -> None:
    with pytest.raises(UsageError):
        perplexity(1.0, tokens)


def test_a_likelihood_that_is_no_number_is_an_error() -> None:
    with pytest.raises(UntriggerError, match="not a number"):
        perplexity(nan, 4)


def test_the_record_keeps_the_tokens() -> None:
    assert measured(0.0, 12) == Perplexity(1.0, 12)
