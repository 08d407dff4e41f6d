from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from untrigger.backdoors.catalogue import backdoor
from untrigger.backdoors.poison import bear_key, poison
from untrigger.config import TrainOptions
from untrigger.data.chat import ChatFormat
from untrigger.evaluation.judges import judge
from untrigger.lab.corpus import corpus
from untrigger.lab.micro import DEFAULT, build_model, content_hash, ensure, train_micro
from untrigger.lab.utility import utility, utility_by_skill
from untrigger.models.generate import Generation, generate
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
