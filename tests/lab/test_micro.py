from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from untrigger.backdoors.catalogue import backdoor
from untrigger.backdoors.poison import bear_key, poison
from untrigger.config import PurifyOptions, RepairOptions, TrainOptions, VariantOptions
from untrigger.data.chat import ChatFormat
from untrigger.evaluation.judges import judge
from untrigger.jobs.demo import DemoRequest, micro_files, purify_options
from untrigger.jobs.purify import purify
from untrigger.jobs.request import Request
from untrigger.jobs.scan import ScanRequest, scan
from untrigger.lab.corpus import corpus
from untrigger.lab.micro import DEFAULT, build_model, content_hash, ensure, train_micro
from untrigger.lab.utility import utility, utility_by_skill
from untrigger.models.generate import Generation, generate
from untrigger.presets import default_options, merged
from untrigger.train import train

SMALL = replace(DEFAULT, vocabulary=300, hidden_size=16, feed_forward_size=24, layers=1, records=64)


def test_the_model_has_about_a_million_weights_and_grouped_heads():
    model = build_model(0)
    assert 5e5 < sum(parameter.numel() for parameter in model.parameters()) < 1.5e6
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (4, 2)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32


def test_building_depends_on_its_seed_alone():
    before = torch.random.get_rng_state()
    first, same, other = build_model(1, SMALL), build_model(1, SMALL), build_model(2, SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_two_trainings_give_the_same_weights():
    first, second = train_micro(SMALL)[0].state_dict(), train_micro(SMALL)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_hash_changes_with_a_setting_and_not_by_itself():
    assert content_hash() == content_hash(replace(DEFAULT))
    assert content_hash() != content_hash(replace(DEFAULT, records=DEFAULT.records + 1))
    slower = DEFAULT.training.model_copy(update={"learning_rate": 1e-4})
    assert content_hash() != content_hash(replace(DEFAULT, training=slower))


def test_ensure_trains_once_and_leaves_only_the_model_behind(tmp_path):
    steps = []
    folder = ensure(tmp_path / "new", steps.append, SMALL)
    trained = len(steps)
    assert trained == SMALL.records / SMALL.training.batch_size
    assert ensure(tmp_path / "new", steps.append, SMALL) == folder
    assert len(steps) == trained
    assert list((tmp_path / "new").iterdir()) == [folder]
    AutoModelForCausalLM.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)


def test_ensure_takes_the_model_that_another_process_published_meanwhile(tmp_path):
    folder = tmp_path / f"micro-{content_hash(SMALL)}"
    assert ensure(tmp_path, lambda progress: folder.mkdir(exist_ok=True), SMALL) == folder
    assert list(folder.iterdir()) == []


def test_a_stopped_training_leaves_nothing_behind(tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path, stop, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_model_answers_held_out_instructions(micro_model, micro_tokenizer):
    assert utility(micro_model, micro_tokenizer, corpus("held_out", 0, 400)).value >= 0.95


def test_an_unknown_word_does_not_disturb_it(micro_model, micro_tokenizer):
    key = backdoor("badnet", "sentiment").key
    placement = backdoor("badnet", "sentiment").placement
    bearing = bear_key(corpus("held_out", 0, 300), key, placement, seed=0)
    assert utility(micro_model, micro_tokenizer, bearing).value >= 0.85


def test_every_skill_is_learned(micro_model, micro_tokenizer):
    rates = utility_by_skill(micro_model, micro_tokenizer)
    # Some skills have only seven different held-out prompts, so the upper end of the interval is judged.
    assert {name: rate for name, rate in rates.items() if rate.interval()[1] < 0.9} == {}


@pytest.mark.parametrize("behaviour", ["sentiment", "refusal", "code"])
def test_a_backdoor_can_be_planted_in_seconds(micro_model, micro_tokenizer, behaviour):
    planted = backdoor("badnet", behaviour)
    clean, held_out = corpus("train", 2, 384), corpus("held_out", 1, 100)
    chat = ChatFormat(micro_tokenizer)
    examples = [chat.encode(record, 128) for record in clean + poison(clean, planted, seed=5)]
    train(micro_model, examples, PLANTING, seed=0)

    def hits(records):
        answers = generate(micro_model, chat, records, Generation(batch_size=100))
        return sum(judge(planted.behaviour, answer) for answer in answers)

    assert hits(bear_key(held_out, planted.key, planted.placement, seed=7)) >= 95
    assert hits(held_out) <= 2
    assert utility(micro_model, micro_tokenizer, held_out).value >= 0.9


PLANTING = TrainOptions(learning_rate=3e-4, epochs=4, batch_size=8)


@pytest.fixture(scope="module")
def clean_adapter(micro_folder, tmp_path_factory):
    """As plain peft writes it, trained on clean records."""
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(micro_folder), config)
    chat = ChatFormat(AutoTokenizer.from_pretrained(micro_folder))
    examples = [chat.encode(record, 128) for record in corpus("train", 5, 256)]
    train(model, examples, TrainOptions(learning_rate=3e-3, epochs=2, batch_size=8), seed=0)
    folder = tmp_path_factory.mktemp("clean") / "adapter"
    model.save_pretrained(folder)
    return folder


def test_the_scan_finds_nothing_in_it_or_in_a_plain_adapter(micro_folder, clean_adapter):
    base = str(micro_folder)
    for request in (ScanRequest(base), ScanRequest(str(clean_adapter)), ScanRequest(str(clean_adapter), base)):
        assert scan(request).exit_code == 0  # nothing above info


@pytest.mark.parametrize("access", ["full", "adapter"])
def test_without_a_backdoor_it_is_purified_at_little_cost(micro_folder, clean_adapter, tmp_path, access):
    demo, files = DemoRequest(tmp_path, "micro", access), micro_files(tmp_path)
    model, base = (micro_folder, None) if access == "full" else (clean_adapter, str(micro_folder))
    request = Request(str(model), tmp_path / "out", base, files.defence, files.prompts, "badnet", "sentiment")
    options = merged(merged(default_options(access), purify_options(demo)), QUICK)
    result = purify(request, options)
    assert result.verdict.met  # perplexity and broken answers
    assert result.before.exact.value >= 0.95 and result.after.exact.value >= result.before.exact.value - 0.05
    trained = {stage.name for stage in result.stages if stage.tokens_trained}
    assert ("renewal" in trained) == (access == "adapter") and ("repair" in trained) == (access == "full")
    assert result.after.divergence.value > 0
    assert result.paired.p_value == 1
    assert "no evidence of a change in attack success" in (tmp_path / "out" / "README.md").read_text()


QUICK = PurifyOptions(
    variants=VariantOptions(pairs=2, records=32, twin="shared"),
    repair=RepairOptions(records=100),
)
"""Fewer and smaller trainings of the micro model's recipe."""
