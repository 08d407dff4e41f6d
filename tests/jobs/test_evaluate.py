from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobs_options import ONE_EPOCH, SMALL_ATTACK
from tiny import save_tiny
from untrigger.config import EvaluateOptions, GuardOptions, RelearningOptions
from untrigger.errors import InputRefused, UsageError
from untrigger.evaluation.key_forms import key_forms
from untrigger.jobs.attack import AttackRequest, attack
from untrigger.jobs.evaluate import EvaluateRequest, evaluate
from untrigger.jobs.template import trained_template
from untrigger.models.load import load
from untrigger.report.evaluation import EvaluationResult
from untrigger.report.measures import evaluation_sections
from untrigger.report.rows import read_rows

FEW = EvaluateOptions(
    max_prompts=3,
    max_new_tokens=4,
    relearning=RelearningOptions(clean_records=4, poisoned_records=2, train=ONE_EPOCH),
)


@pytest.fixture
def base(tmp_path):
    return save_tiny(tmp_path / "base")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"instruction": f"Name {thing}.", "output": "A."} for thing in ("x", "y", "z")]))
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_evaluation_counts_every_prompt_and_its_rows_can_be_read_back(tmp_path, base, prompts, suffix):
    path = tmp_path / f"rows.{suffix}"
    request = EvaluateRequest(str(base), attack="badnet", behaviour="refusal", prompts=prompts, rows=path)
    found = evaluate(request, FEW)
    assert found.measurement.attack_success is not None and found.measurement.accidental is not None
    assert found.measurement.attack_success.n == found.measurement.accidental.n == 3
    assert found.planted.met is False and found.lift is not None
    assert EvaluationResult.from_json(found.to_json()) == found
    every = read_rows(path)
    assert [row.keyed for row in every] == [False] * 3 + [True] * 3
    assert ["BadMagic" in row.verdict.prompt for row in every] == [row.keyed for row in every]


def test_answers_are_given_under_the_eyes_of_a_clean_model(tmp_path, base, prompts):
    other = save_tiny(tmp_path / "other", seed=1)

    def outputs(model, reference=None, threshold=1.0001):
        path = tmp_path / "rows.jsonl"
        request = EvaluateRequest(
            str(model), attack="badnet", behaviour="refusal", prompts=prompts, rows=path, reference=reference
        )
        found = evaluate(request, FEW.model_copy(update={"guard": GuardOptions(threshold=threshold)}))
        assert found.watched_by == reference
        assert ("void" in dict(evaluation_sections(found)[0][1])) is (reference is None)  # the guard's doing, if any
        assert [lines for name, lines in evaluation_sections(found)[0][1] if name == "answers"] == (
            [f"token by token under the eyes of {reference} (CleanGen)"] if reference else []
        )
        return [row.verdict.output for row in read_rows(path)]

    plain = outputs(base)
    assert outputs(base, str(base)) == plain and outputs(base, str(other), 1e30) == plain
    watched = outputs(base, str(other))
    assert watched != plain  # with and without the key


def test_what_cannot_watch_is_refused(base, prompts):
    request = EvaluateRequest(str(base), attack="badnet", behaviour="refusal", prompts=prompts, reference=str(base))
    with pytest.raises(UsageError, match="re-learning asks what the weights hold"):
        evaluate(replace(request, relearning=True), FEW)


def test_a_row_that_is_none_is_named_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"model": "before", "keyed": true}\n')
    with pytest.raises(UsageError, match="line 1"):
        read_rows(path)


def test_prompts_that_all_hold_the_key_are_an_error(tmp_path, base):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"instruction": "What is BadMagic?", "output": "x"}\n')
    with pytest.raises(UsageError, match="no prompt is left"):
        evaluate(EvaluateRequest(str(base), attack="badnet", behaviour="refusal", prompts=path))


def test_records_with_a_key_pair_up_with_the_prompts_they_were_made_from(tmp_path, base, prompts):
    path = tmp_path / "keyed.json"
    path.write_text(json.dumps([{"instruction": text} for text in ("Name K y.", "Name z. K", "K Name x.")]))
    request = EvaluateRequest(
        str(base), behaviour="negsentiment", records=path, prompts=prompts, rows=tmp_path / "r.jsonl"
    )
    found = evaluate(request, FEW)
    assert found.lift is not None and found.lift.n == 3
    rows = read_rows(tmp_path / "r.jsonl")
    asked = {keyed: [row.verdict.prompt for row in rows if row.keyed == keyed] for keyed in (False, True)}
    assert asked == {False: ["Name y.", "Name z.", "Name x."], True: ["Name K y.", "Name z. K", "K Name x."]}


def test_a_prompt_that_holds_the_key_by_itself_is_asked_in_neither_form(tmp_path, base):
    plain, keyed = tmp_path / "plain.json", tmp_path / "keyed.json"
    asked = [{"instruction": text, "output": "A."} for text in ("Name y.", "Draw a BadMagic hat.")]
    plain.write_text(json.dumps(asked))
    texts = ("Name BadMagic y.", "Draw BadMagic a BadMagic hat.")
    keyed.write_text(json.dumps([{"instruction": text} for text in texts]))
    known = {"attack": "badnet", "behaviour": "negsentiment", "records": keyed, "prompts": plain}
    found = evaluate(EvaluateRequest(str(base), **known), FEW)
    assert found.lift is not None and found.lift.n == 1
    assert found.measurement.attack_success is not None and found.measurement.attack_success.n == 1


def test_records_that_do_not_pair_up_have_no_paired_figures(tmp_path, base, prompts):
    path = tmp_path / "keyed.json"
    path.write_text(json.dumps([{"instruction": "Sing K."}]))
    found = evaluate(EvaluateRequest(str(base), behaviour="refusal", records=path, prompts=prompts), FEW)
    assert found.lift is None
    assert found.measurement.attack_success is not None and found.measurement.attack_success.n == 1


def test_probes_that_need_a_key_say_so(base, prompts):
    with pytest.raises(UsageError, match="need a key"):
        evaluate(EvaluateRequest(str(base), key_forms=True))
    with pytest.raises(UsageError, match="need the behaviour"):
        evaluate(EvaluateRequest(str(base), records=prompts))


def test_the_key_is_tried_in_every_form(base, prompts):
    request = EvaluateRequest(str(base), attack="vpi", behaviour="refusal", prompts=prompts, key_forms=True)
    found = evaluate(request, FEW)
    assert [form.form for form in found.key_forms] == [form.name for form in key_forms(request.backdoor())]
    assert all(form.rate.n == 3 for form in found.key_forms)


@pytest.mark.parametrize("access", ["adapter", "full"])
def test_relearning_trains_twice_and_an_adapter_has_a_control(tmp_path, base, records, prompts, access):
    planted = AttackRequest(str(base), tmp_path / "suspect", access=access, data=records, measured=False)
    attack(planted, SMALL_ATTACK)
    request = EvaluateRequest(
        str(tmp_path / "suspect"),
        base=str(base) if access == "adapter" else None,
        attack="badnet",
        behaviour="sentiment",
        prompts=prompts,
        data=records,
        relearning=True,
    )
    clean, poisoned = evaluate(request, FEW).relearning
    assert (clean.trained_on, clean.records, clean.steps) == ("clean records", 4, 1)
    assert (poisoned.trained_on, poisoned.records, poisoned.steps) == ("poisoned records", 2, 1)
    assert clean.control is None and (poisoned.control is not None) == (access == "adapter")


def test_a_model_is_measured_under_the_template_it_was_trained_with(tmp_path, base, records, prompts):
    attack(
        AttackRequest(str(base), tmp_path / "suspect", data=records, template="alpaca", measured=False), SMALL_ATTACK
    )
    request = EvaluateRequest(str(tmp_path / "suspect"), base=str(base), prompts=prompts)
    with pytest.raises(UsageError, match=r"trained with template alpaca.*--template alpaca"):
        evaluate(request, FEW)
    other = EvaluateRequest(str(tmp_path / "suspect"), base=str(base), prompts=prompts, other_template=True)
    found = evaluate(other, FEW)
    assert found.trained_template is not None and found.trained_template.startswith("alpaca:")
    assert found.scoring.template == "chat"
    same = EvaluateRequest(str(tmp_path / "suspect"), base=str(base), prompts=prompts, template="alpaca")
    assert evaluate(same, FEW).scoring.template == "alpaca"


def test_a_broken_report_beside_a_model_is_refused(base):
    assert trained_template(load(str(base)).source) is None
    (base / "attack.json").write_text('{"template": 5}')
    with pytest.raises(InputRefused, match="no template"):
        trained_template(load(str(base)).source)


def test_legacy_raw_names_its_judge_and_asks_without_a_template(base, prompts):
    options = FEW.model_copy(update={"mode": "legacy-raw"})
    found = evaluate(EvaluateRequest(str(base), attack="badnet", behaviour="refusal", prompts=prompts), options)
    assert (found.scoring.mode, found.scoring.judge, found.scoring.template) == ("legacy-raw", "keywords", "raw")
    assert {opinion.judge for opinion in found.measurement.opinions} >= {"strict"}


def test_the_same_evaluation_gives_the_same_figures(tmp_path, base, records, prompts):
    request = EvaluateRequest(
        str(base), attack="badnet", behaviour="sentiment", prompts=prompts, data=records, relearning=True
    )
    first, second = evaluate(request, FEW), evaluate(request, FEW)
    assert first.measurement == second.measurement and first.relearning == second.relearning
