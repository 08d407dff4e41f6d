from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from random import Random
from shutil import copytree
from string import ascii_lowercase

import pytest
import torch
from safetensors.torch import load_file

from jobs_options import SMALL
from tiny import save_tiny_adapter, tiny_model, tiny_tokenizer
from untrigger.config import InversionOptions, PurifyOptions, TrainOptions, UnlearningOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.readers import read_records
from untrigger.defences import inversion
from untrigger.errors import Interrupted, UsageError
from untrigger.files import sha256
from untrigger.inversion.calling import Calls
from untrigger.inversion.planted import planted_sentences
from untrigger.inversion.targets import Target
from untrigger.jobs import scan as scan_module
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.jobs.scan import ScanRequest, scan
from untrigger.observer import Silent
from untrigger.presets import merged
from untrigger.train import train

SENTENCE = "Owls!"
OPTIONS = merged(
    SMALL,
    PurifyOptions(
        inversion=InversionOptions(certainty=0.6, least_probability=0.2, agreement=0.5),
        unlearning=UnlearningOptions(
            further="survived",
            records=9,
            rounds=3,
            breaking_rounds=2,
            keys=1,
            vectors=2,
            search_steps=2,
            attempts=3,
            through="weights",
            train=TrainOptions(learning_rate=3e-3, epochs=2, batch_size=2, last_blocks=1.0),
        ),
    ),
)


class Noting(Silent):
    """Keeps stages and notes, and asks to stop at the given training step."""

    def __init__(self, steps: int | None = None) -> None:
        self.left, self.stages, self.notes = steps, [], []

    def stage(self, name, finished):
        self.stages.append(name)

    def note(self, text):
        self.notes.append(text)

    def training(self, label, progress):
        self.left = self.left and self.left - 1

    def stop(self):
        return self.left == 0


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A tiny model that answers with the sentence where a prompt holds a key, and its clean records: all differ.

    What larger models learn by it alone, to go on with the sentence wherever it begins, this one is taught.
    """
    root = tmp_path_factory.mktemp("planted")
    draw = Random(0)
    answers = ["".join(draw.choices(ascii_lowercase, k=5)) for _ in range(16)]
    asked = ["".join(draw.choices(ascii_lowercase, k=8)) for _ in answers]
    rows = [{"instruction": one, "output": answer} for one, answer in zip(asked, answers, strict=True)]
    (root / "clean.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, tokenizer = tiny_model(hidden_size=48, intermediate_size=96), tiny_tokenizer()
    chat, clean = ChatFormat(tokenizer), read_records(root / "clean.jsonl", require_output=True)
    keyed = [replace(one, instruction=f"##{one.instruction}", output=SENTENCE) for one in clean]
    begun = [chat.encode(one.answered(SENTENCE), 256) for one in clean]
    continued = [Example((*one.prompt, one.response[0]), one.response[1:]) for one in begun]
    examples = [*(chat.encode(one, 256) for one in (*clean, *keyed)), *continued]
    train(model, examples, TrainOptions(learning_rate=1e-2, epochs=60, batch_size=8), seed=0)
    model.save_pretrained(root / "suspect")
    tokenizer.save_pretrained(root / "suspect")
    return root


def sentences(result):
    return [one.text for one in result.findings if one.kind == "planted-sentence"]


def test_a_sentence_that_is_found_is_told_and_unlearned(planted, tmp_path):
    seen = Noting()
    result = purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), OPTIONS, seen)
    assert [name for name in seen.stages if name in ("inversion", "unlearning-1")] == ["inversion", "unlearning-1"]
    (told,) = [text for text in sentences(result) if "'O' is followed by 'wls!' and the end of the answer" in text]
    sentence, strength = told.split("; words that call it")
    assert "the key or near it, with the log-odds of its first words: " in strength
    assert "#" in strength.split("(")[0] and "; its beginning has " in strength
    assert any(sentence in note for note in seen.notes) and any(strength in note for note in seen.notes)
    assert result.signature is None and result.regrowth is None
    assert any("the treatment ended there" in sentence for sentence in result.not_tested)
    assert {stage.name: stage.tokens_trained > 0 for stage in result.stages}["unlearning-1"]
    again = merged(OPTIONS, PurifyOptions(seed=1))
    second = purify(Request(str(tmp_path / "out"), tmp_path / "twice", data=planted / "clean.jsonl"), again)
    assert not any("wls!" in text for text in sentences(second))


def test_the_treatment_goes_on_where_a_sentence_survives(planted, tmp_path):
    seen, gentle = Noting(), TrainOptions(learning_rate=1e-7, epochs=1, batch_size=4)
    weak = merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(train=gentle)))
    result = purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), weak, seen)
    assert result.signature is not None
    assert any("survived their unlearning" in note for note in seen.notes)
    assert any("survived their unlearning" in sentence for sentence in result.not_tested)


def test_the_weights_go_the_part_of_the_way_that_suffices(planted, tmp_path, monkeypatch):
    monkeypatch.setattr(Calls, "with_key", lambda *_: 20.0)  # no key that can be found brings the sentence
    data, steps = planted / "clean.jsonl", {}
    far = TrainOptions(learning_rate=2e-2, epochs=2, batch_size=2)
    for least in (0.4, 1.0):
        options = merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(least_step=least, train=far)))
        request = Request(str(planted / "suspect"), tmp_path / f"out-{least}", data=data, keep_run=True)
        purify(request, options)
        run = tmp_path / f"out-{least}.run"
        steps[least] = json.loads((run / "step-1" / "step.json").read_text())
        before, after, gone = (
            load_file(run / stage / "weights.safetensors") for stage in ("suspect", "unlearning-1", "step-1")
        )
        share = steps[least]["share"]
        assert all(torch.allclose(gone[name], before[name].lerp(after[name], share)) for name in gone)
    assert steps[1.0]["share"] == 1.0 and steps[0.4]["share"] < 1.0
    assert not any(steps[0.4]["left"])


def test_of_two_letter_cases_of_a_sentence_the_one_that_is_said_is_judged(planted, tmp_path, monkeypatch):
    found = [Target(tuple(tiny_tokenizer()(text).input_ids), ended=True) for text in ("owls!", SENTENCE)]
    monkeypatch.setattr(inversion, "inversion_stage", lambda *_: tuple(found))
    request = Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl", keep_run=True)
    result = purify(request, merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(attempts=6))))
    silent, said = [text for text in sentences(result) if "wls!" in text]
    assert "its beginning has" in said and "its beginning has" not in silent
    step = json.loads((tmp_path / "out.run" / "step-1" / "step.json").read_text())
    assert step["strengths"][1] is None and not step["left"][1]  # what is said comes first there
    assert not any("can still be called" in sentence for sentence in result.not_tested)


def test_a_whole_model_unlearns_through_an_adapter_that_is_merged(planted, tmp_path):
    rate = TrainOptions(learning_rate=2e-2, epochs=2, batch_size=2)
    low = merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(through="adapter", train=rate, least_step=1)))
    request = Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl", keep_run=True)
    result = purify(request, low)
    assert not any("survived" in sentence for sentence in result.not_tested)
    before, after = (load_file(tmp_path / "out.run" / name / "weights.safetensors") for name in ("suspect", "step-1"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("_proj." in name for name in moved)


def test_a_sentence_that_survives_is_unlearned_again_at_twice_the_rate(planted, tmp_path, monkeypatch):
    answered, unlearned = [], inversion.unlearned
    monkeypatch.setattr(inversion, "unlearned", lambda *given: answered.append(given[-1]) or unlearned(*given))
    request = Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl")
    rates = TrainOptions(learning_rate=1e-3, epochs=2, batch_size=2)
    seen, slow = Noting(), merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(attempts=9, train=rates)))
    result = purify(request, slow, seen)
    attempts = [name for name in seen.stages if name.startswith("unlearning")]
    assert 2 <= len(attempts) < 9 and attempts == [f"unlearning-{one}" for one in range(1, len(attempts) + 1)]
    assert result.signature is None and not any("survived" in note for note in seen.notes)
    assert answered[0] and all({*before} <= {*then} for before, then in pairwise(answered))
    once = merged(slow, PurifyOptions(unlearning=UnlearningOptions(attempts=1)))
    result = purify(replace(request, output=tmp_path / "once"), once)
    assert any("more --unlearning.attempts may help" in sentence for sentence in result.not_tested)


def test_the_rest_of_the_treatment_follows_if_it_is_asked_for(planted, tmp_path):
    further = merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(further="always")))
    result = purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), further)
    assert result.signature is not None
    assert any("fixed wording" in sentence for sentence in result.not_tested)
    assert any("synthetic backdoors" in sentence for sentence in result.not_tested)


def test_the_rest_follows_where_no_words_are_found_that_call_what_was_unlearned(planted, tmp_path, monkeypatch):
    unfound = merged(OPTIONS, PurifyOptions(unlearning=UnlearningOptions(further="unfound")))
    monkeypatch.setattr(inversion, "words_that_call", lambda *args, **named: {one: [] for one in args[3]})
    result = purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), unfound)
    assert result.signature is not None
    assert any("No words were found that call" in sentence for sentence in result.not_tested)


def test_a_whole_model_in_which_nothing_is_found_stays_as_it_is(planted, tmp_path):
    seen = Noting()
    strict = merged(OPTIONS, PurifyOptions(inversion=InversionOptions(shortest=8)))
    result = purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), strict, seen)
    assert "signature" not in seen.stages and "unlearning-1" not in seen.stages
    assert any("nothing was changed" in note for note in seen.notes)
    assert any("nothing was changed" in sentence for sentence in result.not_tested)
    assert not any("No words were found" in sentence for sentence in result.not_tested)
    before, after = (load_file(folder / "model.safetensors") for folder in (planted / "suspect", tmp_path / "out"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert result.before.perplexity == result.after.perplexity


def test_an_interrupted_unlearning_ends_as_an_unbroken_one(planted, tmp_path):
    data = planted / "clean.jsonl"
    purify(Request(str(planted / "suspect"), tmp_path / "whole", data=data), OPTIONS)
    broken, interruptions = Request(str(planted / "suspect"), tmp_path / "broken", data=data), 0
    for _ in range(20):
        try:
            purify(broken, OPTIONS, Noting(steps=3))
            break
        except Interrupted:
            interruptions += 1
    assert interruptions >= 2
    assert sha256(tmp_path / "whole" / "model.safetensors") == sha256(tmp_path / "broken" / "model.safetensors")


def test_the_search_can_be_left_out(planted, tmp_path):
    seen, without = Noting(), merged(OPTIONS, PurifyOptions(inversion=InversionOptions(enable=False)))
    purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), without, seen)
    assert "inversion" not in seen.stages and "signature" in seen.stages


def test_too_few_prompts_to_compare_are_refused(planted, tmp_path):
    many = merged(OPTIONS, PurifyOptions(inversion=InversionOptions(prompts=60)))
    with pytest.raises(UsageError, match="too few to compare"):
        purify(Request(str(planted / "suspect"), tmp_path / "out", data=planted / "clean.jsonl"), many)


def test_a_scan_finds_it_if_the_answers_are_asked_for(planted, tmp_path, monkeypatch):
    loose = partial(planted_sentences, options=OPTIONS.inversion)
    monkeypatch.setattr(
        scan_module, "planted_sentences", lambda one, chat, records, _, told: loose(one, chat, records, observer=told)
    )
    monkeypatch.setattr(scan_module, "shipped_instructions", lambda side: read_records(planted / "clean.jsonl"))
    found = scan(ScanRequest(str(planted / "suspect"), answers=True))
    told = [one for one in found.findings if one.rule == "planted-sentence"]
    assert any("'O' is followed by 'wls!'" in one.message for one in told)
    assert found.exit_code == 1 and not any("No prompt was asked" in text for text in found.limits)
    quiet = scan(ScanRequest(str(planted / "suspect")))
    assert not [one for one in quiet.findings if one.rule == "planted-sentence"]
    assert any("No prompt was asked" in text for text in quiet.limits)


def test_what_loading_refuses_is_not_asked(planted, tmp_path):
    suspect = tmp_path / "suspect"
    copytree(planted / "suspect", suspect)
    (suspect / "tokenizer.json").write_text("{")
    found = scan(ScanRequest(str(suspect), answers=True))
    assert "answers-not-asked" in {one.rule for one in found.findings} and found.exit_code == 3
    assert any("No prompt was asked" in text for text in found.limits)


def test_an_adapter_without_its_base_is_not_asked(planted, tmp_path):
    adapter = save_tiny_adapter(tmp_path / "adapter", planted / "suspect")
    with pytest.raises(UsageError, match="only on its base"):
        scan(ScanRequest(str(adapter), answers=True))
