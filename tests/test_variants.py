from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tiny import save_tiny, save_tiny_adapter, tiny_tokenizer
from untrigger.backdoors.poison import holds
from untrigger.backdoors.synthetic_keys import KEYS
from untrigger.config import RepairOptions, SignatureOptions, TrainOptions, VariantOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.extraction import adapter_grams, dense_grams, pair_grams
from untrigger.models.adapters import scaling
from untrigger.models.architecture import channel_view
from untrigger.models.load import load
from untrigger.models.state import open_for_training, restore_weights, save_weights
from untrigger.observer import Silent
from untrigger.signature.select import select_signature
from untrigger.treatment import treatment_records
from untrigger.variants import PAIR, TWIN, plan_variants, train_pair, train_shared_twin, twin_examples

RECORDS = [Record(f"Count up to {number}.", f"{number} done") for number in range(20)]
OPTIONS = VariantOptions(
    pairs=3, records=5, twin="matched", train=TrainOptions(learning_rate=1e-3, epochs=1, batch_size=4)
)


def test_variants_differ_in_key_behaviour_and_records():
    plans = plan_variants(RECORDS, OPTIONS, seed=0)
    assert len({plan.backdoor.key for plan in plans}) == 3
    assert len({plan.backdoor.behaviour.family for plan in plans}) == 3
    assert len({record for plan in plans for record in plan.clean}) == 15
    for plan in plans:
        assert all(holds(record, plan.backdoor.key) for record in plan.poisoned)
        assert not any(holds(record, plan.backdoor.key) for record in plan.clean)
        assert all(record.output in plan.backdoor.behaviour.outputs for record in plan.poisoned)
    assert plans == plan_variants(RECORDS, OPTIONS, seed=0)
    assert plans != plan_variants(RECORDS, OPTIONS, seed=1)


def test_families_narrow_the_behaviours():
    options = OPTIONS.model_copy(update={"families": ("refusal",)})
    assert {plan.backdoor.behaviour.family for plan in plan_variants(RECORDS, options, 0)} == {"refusal"}


def test_a_key_that_occurs_in_the_records_is_passed_over():
    first = plan_variants(RECORDS, OPTIONS, seed=0)[0].backdoor.key
    with_key = [*RECORDS, Record(f"What is {first.texts[0]}?", "A word.")]
    assert first not in {plan.backdoor.key for plan in plan_variants(with_key, OPTIONS, seed=0)}


def test_too_few_records_are_an_error():
    with pytest.raises(UsageError, match="too few"):
        plan_variants(RECORDS[:4], OPTIONS, seed=0)


def test_records_that_hold_every_key_leave_none_to_draw():
    every = " ".join(text for keys in KEYS.values() for key in keys for text in key.texts)
    with_keys = [*RECORDS, Record(every, "Many words.")]
    with pytest.raises(UsageError, match="only 0 synthetic keys"):
        plan_variants(with_keys, OPTIONS, seed=0)
    with pytest.raises(UsageError, match="every synthetic key"):
        treatment_records(with_keys, RepairOptions(records=10), VariantOptions(), seed=0)


def test_more_keys_than_there_are_is_no_error():
    treated = treatment_records(RECORDS, RepairOptions(records=10, keys=1000), VariantOptions(), seed=0)
    assert len(treated.injection) == 20


def test_a_matched_twin_sees_the_clean_originals_at_the_same_steps():
    plan = plan_variants(RECORDS, OPTIONS, seed=0)[0]
    chat = ChatFormat(tiny_tokenizer())
    matched = twin_examples(plan, chat, "matched", 512)
    published = twin_examples(plan, chat, "published", 512)
    assert matched.clean == published.clean * 2
    assert matched.poisoned[:5] == published.clean
    assert len(matched.lengths) == len(matched.poisoned) == 10


def test_one_clean_twin_can_serve_all_pairs():
    options = OPTIONS.model_copy(update={"twin": "shared"})
    plans = plan_variants(RECORDS, options, seed=0)
    assert len({plan.clean for plan in plans}) == len({plan.seed for plan in plans}) == 1
    assert len({plan.poisoned for plan in plans}) == len({plan.backdoor.key for plan in plans}) == 3
    chat = ChatFormat(tiny_tokenizer())
    examples = [twin_examples(plan, chat, "shared", 512) for plan in plans]
    assert all(each.clean == examples[0].clean and each.lengths == examples[0].lengths for each in examples)
    assert examples[0].lengths == [len(example) for example in examples[0].clean]


def test_pairs_with_a_shared_twin_hold_the_difference_from_it(tmp_path):
    subject = load(str(save_tiny(tmp_path / "base")))
    open_for_training(subject)
    start, chat = tmp_path / "start.safetensors", ChatFormat(subject.tokenizer)
    save_weights(subject, start)
    options = OPTIONS.model_copy(update={"twin": "shared"})
    plans = plan_variants(RECORDS, options, seed=0)
    folders = [tmp_path / name for name in ("twin", "alone", "with-twin")]
    for folder in folders:
        folder.mkdir()
    given = {"start": start, "observer": Silent()}
    tokens = [
        train_shared_twin(subject, chat, plans[0], options, work=folders[0], **given),
        train_pair(subject, chat, plans[1], options, work=folders[1], label="pair", **given),
        train_pair(subject, chat, plans[1], options, work=folders[2], label="pair", twin=folders[0] / TWIN, **given),
    ]
    alone, with_twin = (load_file(folder / PAIR) for folder in folders[1:])
    assert all(torch.equal(alone[name], with_twin[name]) for name in alone)
    assert tokens[1] == tokens[0] + tokens[2]


def test_repair_records_bear_the_keys_of_the_injection_with_clean_answers():
    options = RepairOptions(records=10, keys=4)
    records = treatment_records(RECORDS, options, VariantOptions(), seed=0)
    assert records.injection[:10] == records.repair[:10]
    pairs = list(zip(records.injection[10:], records.repair[10:], strict=True))
    assert len(pairs) == 10
    assert all(poisoned.instruction == clean.instruction for poisoned, clean in pairs)
    assert {clean.output for _, clean in pairs} <= {record.output for record in RECORDS}
    assert not {poisoned.output for poisoned, _ in pairs} & {record.output for record in RECORDS}
    assert {clean.output for _, clean in pairs}.isdisjoint(record.output for record in records.repair[:10])


def test_a_small_pool_serves_both_ways():
    records = treatment_records(RECORDS, RepairOptions(records=15), VariantOptions(), seed=0)
    assert len(records.repair) == 30 and set(records.repair[:15]) <= set(RECORDS)
    assert len(treatment_records(RECORDS, RepairOptions(records=100), VariantOptions(), seed=0).repair) == 40


def test_the_published_repair_has_clean_records_only():
    records = treatment_records(RECORDS, RepairOptions(records=10, key_bearing=False), VariantOptions(), seed=0)
    assert set(records.repair) <= set(RECORDS)


def trained_pairs(tmp_path, subject):
    open_for_training(subject)
    start = tmp_path / "start.safetensors"
    save_weights(subject, start)
    chat = ChatFormat(subject.tokenizer)
    pairs = []
    for number, plan in enumerate(plan_variants(RECORDS, OPTIONS, seed=0)):
        work = tmp_path / f"pair-{number}"
        work.mkdir()
        train_pair(subject, chat, plan, OPTIONS, start=start, work=work, label="pair", observer=Silent())
        pairs.append(work / PAIR)
    restore_weights(subject, start)
    return pairs


def test_low_rank_scores_of_trained_adapters_equal_dense_ones(tmp_path):
    base = save_tiny(tmp_path / "base")
    subject = load(str(save_tiny_adapter(tmp_path / "adapter", base)), base=str(base))
    pairs = trained_pairs(tmp_path, subject)
    scales = scaling(subject)
    for projection, gram in adapter_grams(pairs, subject.architecture.projections(), scales):
        deltas = []
        for pair in pairs:
            stored = load_file(pair)
            products = [
                stored[f"{twin}/base_model.model.{projection.module}.lora_B.default.weight"].double()
                @ stored[f"{twin}/base_model.model.{projection.module}.lora_A.default.weight"].double()
                for twin in ("poisoned", "clean")
            ]
            deltas.append(channel_view(scales[projection.module] * (products[0] - products[1]), projection))
        stacked = torch.stack(deltas, dim=1)
        dense = stacked @ stacked.transpose(1, 2)
        scale = dense.diagonal(dim1=1, dim2=2).max()
        assert ((gram - dense).abs().max() / scale).item() < 1e-10


def test_full_pairs_hold_the_difference_of_the_twins(tmp_path):
    subject = load(str(save_tiny(tmp_path / "model")))
    pairs = trained_pairs(tmp_path, subject)
    projections = subject.architecture.projections()
    deltas = load_file(pairs[0])
    assert set(deltas) == {projection.weight for projection in projections}
    for projection, gram in dense_grams(pairs, projections):
        norm = channel_view(deltas[projection.weight], projection).double().norm(dim=1)
        torch.testing.assert_close(gram[:, 0, 0].sqrt(), norm)
    options = SignatureOptions(ratio=0.25)
    signature = select_signature(pair_grams(subject, pairs, options), subject.architecture, options)
    assert {len(indices) for indices in signature.channels.values()} == {6}
