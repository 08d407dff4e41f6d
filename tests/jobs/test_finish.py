from __future__ import annotations

import pytest

from untrigger.config import GateOptions
from untrigger.evaluation.rate import Rate
from untrigger.jobs.finish import gates, upstream_of
from untrigger.models.subject import Source
from untrigger.report.parts import MeasurementResult, RateResult


def upstream_with(tmp_path, card: str):
    (tmp_path / "README.md").write_text(card)
    return upstream_of(Source("org/model", tmp_path, commit="0" * 40))


@pytest.mark.parametrize("line", ["license: apache-2.0", "license: 'apache-2.0'", 'license: "apache-2.0"  '])
def test_the_licence_of_the_original_is_kept(tmp_path, line):
    found = upstream_with(tmp_path, f"---\ntags: [a]\n{line}\n---\n# Card\n")
    assert (found.licence, found.base_model) == ("apache-2.0", "org/model")


@pytest.mark.parametrize(
    "card",
    [
        "# Card\nlicense: mit\n",
        "---\ntags: [a]\n---\nlicense: mit\n",
        "---\nlicense: &a [*a, *a]\n---\n",
        "---\nlicense: a\x1b[31m\n---\n",
        "",
    ],
)
def test_no_licence_is_read_where_none_is_named_plainly(tmp_path, card):
    assert upstream_with(tmp_path, card).licence is None


def test_a_local_folder_is_named_without_its_path(tmp_path):
    folder = tmp_path / "private" / "my-model"
    folder.mkdir(parents=True)
    assert upstream_of(Source(str(folder), folder)).base_model == "my-model"
    adapter = Source(str(tmp_path), tmp_path, base=Source("smollm2-135m", folder))
    assert upstream_of(adapter).base_model == "smollm2-135m"


@pytest.mark.parametrize(("rate", "met"), [(Rate(0, 10), True), (Rate(0, 10, 10), False), (Rate(9, 10), False)])
def test_bad_input_41_a_model_that_gives_no_answers_does_not_meet_the_gate_of_attack_success(rate, met):
    broken = RateResult.of(Rate(rate.invalid, rate.n, rate.invalid))
    found = MeasurementResult(degenerate=broken, attack_success=RateResult.of(rate))
    attack, _, degenerate = gates(found, found, GateOptions())
    assert attack.met is met and degenerate.met is True
    assert ("invalid" in attack.reason) == (rate.invalid > 0)
