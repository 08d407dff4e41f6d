from __future__ import annotations

import json
from math import sqrt

import pytest

from untrigger.errors import UntriggerError
from untrigger.evaluation.rate import Rate
from untrigger.evaluation.utility.averages import averages
from untrigger.evaluation.utility.messages import RESULTS, Facts, samples_name
from untrigger.evaluation.utility.scores import Item, Metric, measured, read_items, require_equal
from untrigger.evaluation.utility.tasks import ACC, ACC_NORM, TASKS


def items(scores: list[float], name: str = ACC) -> list[Item]:
    return [Item(number, "rte", "d", "t", {name: score}) for number, score in enumerate(scores)]


def facts(sizes: dict[str, int], numbers: tuple[int, ...]) -> Facts:
    return Facts(
        sizes=sizes,
        items=numbers,
        device="cpu",
        dtype="float32",
        max_length=64,
        max_new_tokens=None,
        chat_template=False,
        cut=0,
    )


def sample(number: int, score: float, kind: str = "acc", rule: str = "none") -> dict[str, object]:
    return {
        "doc_id": number,
        "filter": rule,
        "metrics": [kind],
        kind: score,
        "doc_hash": f"d{number}",
        "target_hash": f"t{number}",
    }


def write_samples(folder, leaf, rows):
    (folder / samples_name(leaf)).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_few_items_get_wilsons_interval():
    metric = measured(items([1.0] * 3 + [0.0] * 7), ACC)
    assert (metric.value, metric.interval, metric.n) == (0.3, "wilson", 10)
    assert (metric.low, metric.high) == Rate(3, 10).interval()


def test_many_items_get_1_96_standard_errors():
    metric = measured(items([1.0] * 300 + [0.0] * 300), ACC)
    error = sqrt(0.25 / 599)  # the sample's variance is n p (1 - p) / (n - 1)
    assert metric.interval == "normal"
    assert metric.standard_error == pytest.approx(error)
    assert (metric.low, metric.high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=1e-5)


def test_scores_that_are_neither_right_nor_wrong_are_refused():
    with pytest.raises(ValueError, match="neither"):
        measured(items([0.5]), ACC)


def test_items_of_several_leaves_are_counted_over_them(tmp_path):
    write_samples(tmp_path, "mmlu_anatomy", [sample(1, 1.0)])
    write_samples(tmp_path, "mmlu_virology", [sample(0, 0.0), sample(2, 1.0)])
    found = read_items(TASKS["mmlu"], facts({"mmlu_anatomy": 4, "mmlu_virology": 3}, (1, 4, 6)), tmp_path)
    assert [(item.number, item.leaf, item.scores[ACC]) for item in found] == [
        (1, "mmlu_anatomy", 1.0),
        (4, "mmlu_virology", 0.0),
        (6, "mmlu_virology", 1.0),
    ]
    assert [item.document for item in found] == ["d1", "d0", "d2"]


def test_both_filters_of_an_item_become_one(tmp_path):
    rules = ("strict-match", "flexible-extract")
    write_samples(tmp_path, "gsm8k", [sample(0, float(rule == rules[1]), "exact_match", rule) for rule in rules])
    (item,) = read_items(TASKS["gsm8k"], facts({"gsm8k": 1}, (0,)), tmp_path)
    assert item.scores == {"exact_match,strict-match": 0.0, "exact_match,flexible-extract": 1.0}


@pytest.mark.parametrize(
    "rows",
    [
        [sample(0, 1.0)],  # one is missing
        [sample(0, 1.0), sample(2, 1.0)],  # another one
        [sample(0, 1.0), sample(1, 1.0), sample(1, 1.0)],  # one twice
        [sample(0, 1.0), sample(1, 1.0, rule="other")],  # without its metric
    ],
)
def test_samples_other_than_those_asked_for_are_refused(tmp_path, rows):
    write_samples(tmp_path, "rte", rows)
    with pytest.raises(UntriggerError, match="lm-eval answered"):
        read_items(TASKS["rte"], facts({"rte": 5}, (0, 1)), tmp_path)


def test_means_must_be_those_that_were_reported(tmp_path):
    metrics = [measured(items([1.0, 0.0]), ACC)]
    (tmp_path / RESULTS).write_text(json.dumps({"results": {"rte": {ACC: 0.5}}}))
    require_equal(TASKS["rte"], metrics, tmp_path)
    (tmp_path / RESULTS).write_text(json.dumps({"results": {"rte": {ACC: 0.6}}}))
    with pytest.raises(UntriggerError, match=r"0\.6"):
        require_equal(TASKS["rte"], metrics, tmp_path)


def metric(value: float, error: float = 0.0, name: str = ACC) -> Metric:
    return Metric(name, value, value, value, "normal", error, 600)


def test_averages_need_all_their_tasks():
    eight = {task: [metric(0.5)] for task in TASKS if task not in ("gsm8k", "mmlu")}
    assert {average.name for average in averages(eight)} == {"avg8"}
    assert {average.name for average in averages(eight | {"mmlu": [metric(0.5)]})} == {"avg8"}
    assert averages({"rte": [metric(0.5)]}) == []


def test_the_second_average_takes_acc_norm_where_it_exists():
    both = {task: [metric(0.4, 0.01)] for task in TASKS}
    both["piqa"] = [metric(0.4, 0.01), metric(0.6, 0.01, ACC_NORM)]
    found = {(average.name, average.normalised): average for average in averages(both)}
    assert found["avg10", False].value == pytest.approx(0.4)
    assert found["avg10", True].value == pytest.approx(0.42)
    half = found["avg10", False].high - found["avg10", False].value
    assert half == pytest.approx(1.96 * 0.01 / sqrt(10), abs=1e-6)  # independent tasks: errors add in squares
