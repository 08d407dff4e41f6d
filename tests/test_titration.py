from __future__ import annotations

from itertools import pairwise

import pytest

from untrigger.backdoors.poison import holds
from untrigger.backdoors.synthetic_keys import KEYS
from untrigger.config import PurifyOptions, TitrationOptions, VariantOptions
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.titration import LADDERS, Strength, canary_records, divided, first_that_holds, set_apart
from untrigger.variants import unused_backdoors

RECORDS = [Record(f"Count up to {number} please.", "", f"{number} done") for number in range(100)]
OPTIONS = TitrationOptions(canaries=4, records=5, prompts=10, relearning_records=20)


def kind_of(name: str) -> str:
    return name.rsplit("-", 2)[0]


@pytest.mark.parametrize("seed", range(5))
def test_canaries_share_no_family_and_no_kind_of_key_with_the_treatment(seed):
    apart = set_apart(RECORDS, OPTIONS, VariantOptions(), seed)
    others = unused_backdoors(RECORDS, apart.drawn, seed)
    assert len(apart.canaries) == 4 and len(others) > 20
    families = {one.behaviour.family for one in apart.canaries}
    assert len(families) > 1 and families.isdisjoint(one.behaviour.family for one in others)
    kinds = {kind_of(one.name) for one in apart.canaries}
    assert len(kinds) > 1 and kinds.isdisjoint(kind_of(one.name) for one in others)


def test_what_the_user_narrowed_stays_and_canaries_take_the_rest():
    drawn = VariantOptions(families=("insult", "refusal"), kinds=("rare",), pairs=3)
    apart = set_apart(RECORDS, OPTIONS, drawn, seed=0)
    assert apart.drawn == drawn
    assert not {one.behaviour.family for one in apart.canaries} & {"insult", "refusal"}


def test_nothing_left_for_canaries_is_an_error():
    with pytest.raises(UsageError, match="kinds of key"):
        set_apart(RECORDS, OPTIONS, VariantOptions(kinds=tuple(KEYS)), seed=0)
    all_but_one = tuple(KEYS)[:-1]
    with pytest.raises(UsageError, match=r"9 canaries are asked for, 5 keys are left"):
        set_apart(RECORDS, OPTIONS.model_copy(update={"canaries": 9}), VariantOptions(kinds=all_but_one), seed=0)


def test_no_record_serves_two_purposes():
    parts = divided(RECORDS, OPTIONS)
    assert [len(part) for part in (parts.treatment, parts.asked, parts.relearning)] == [70, 10, 20]
    assert {*parts.treatment, *parts.asked, *parts.relearning} == set(RECORDS)
    with pytest.raises(UsageError, match=r"titration sets 30 apart"):
        divided(RECORDS[:59], OPTIONS)


def test_each_canary_is_planted_in_as_many_records_beside_as_many_clean_ones():
    canaries = set_apart(RECORDS, OPTIONS, VariantOptions(), seed=0).canaries
    records = canary_records(RECORDS, canaries, OPTIONS, seed=0)
    assert len(records) == 40 and set(records[:20]) <= set(RECORDS)
    for number, canary in enumerate(canaries):
        own = records[20 + 5 * number : 25 + 5 * number]
        assert all(holds(record, canary.key) and record.output in canary.behaviour.outputs for record in own)


@pytest.mark.parametrize(
    ("worst", "expected"), [([0.4, 0.05, 0.0], 1), ([0.0], 0), ([0.4, 0.1, 0.2], 1), ([0.3, 0.3], 0)]
)
def test_the_weakest_strength_that_holds_is_taken_or_the_best(worst, expected):
    assert first_that_holds(worst, 0.05) == expected


@pytest.mark.parametrize("access", ["adapter", "full"])
def test_a_ladder_rises(access):
    ladder = LADDERS[access]
    assert len(ladder) >= 3
    assert all(a.ratio < b.ratio and a.remainder >= b.remainder for a, b in pairwise(ladder))


def test_a_strength_changes_nothing_but_ratio_and_remainder():
    options = PurifyOptions(seed=3)
    found = Strength(0.2, 0.7).applied(options)
    assert (found.signature.ratio, found.suppress.remainder) == (0.2, 0.7)
    back = Strength(options.signature.ratio, options.suppress.remainder).applied(found)
    assert back == options
