from __future__ import annotations

import pytest

from tiny import tiny_architecture
from untrigger.defences.registry import defence
from untrigger.errors import UsageError


def test_an_unknown_defence_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="wanda-only"):
        defence("wnda")


@pytest.mark.parametrize(("family", "ratio"), [("llama", 0.35), ("qwen2", 0.35), ("mistral", 0.65)])
def test_the_published_share_to_prune_depends_on_the_family(family, ratio):
    assert defence("prune").recipe(tiny_architecture(family), "full").prune.ratio == ratio


@pytest.mark.parametrize("access", ["full", "adapter"])
def test_controls_differ_from_the_vaccine_in_what_they_are_named_for_alone(access):
    def options(name):
        return defence(name).recipe(tiny_architecture(), access).model_dump()

    ours = options("vaccine")
    assert options("random-channels-repair") == ours
    assert options("random-channels") == ours | {"random": ours["random"] | {"repair": False}}
    signature = options("signature-only")
    assert signature == ours | {"inversion": ours["inversion"] | {"enable": False}}
    for form in ("norm", "alignment"):
        assert options(f"{form}-only") == signature | {"signature": ours["signature"] | {"form": form}}
    smallest = options("prune-channels")
    assert smallest["signature"]["ratio"] == ours["signature"]["ratio"]
    assert smallest["suppress"] == {"value": "zero", "remainder": 1.0}


def test_fine_tuning_after_wanda_has_the_published_rate_of_its_setting():
    rates = [
        defence("wanda").recipe(tiny_architecture(), access).wanda.learning_rate for access in ("full", "adapter")
    ]
    assert rates == [1e-5, 2e-4]
