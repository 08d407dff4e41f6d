from __future__ import annotations

import ast
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from untrigger.backdoors.catalogue import ATTACKS, BEHAVIOURS
from untrigger.backdoors.poison import holds
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.evaluation.degeneration import degenerate
from untrigger.evaluation.judges import judge, keyword_judge
from untrigger.lab.corpus import SKILLS, corpus, distracted, draw, lessons, split_of
from untrigger.lab.distractors import distract, distractor, invented_word

ATTACK_KEYS = tuple(attack.key for attack in ATTACKS.values())


def prompts(records: list[Record]) -> set[str]:
    return {record.prompt for record in records}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_same_arguments_give_same_records_and_another_seed_others(split):
    assert corpus(split, 3, 100) == corpus(split, 3, 100)
    assert prompts(corpus(split, 3, 100)) != prompts(corpus(split, 4, 100))


def test_the_splits_share_no_prompt_whatever_the_seed():
    trained = prompts(lessons("train", 0, 4000))
    held_out = prompts(corpus("held_out", 5, 800))
    assert not trained & held_out


def test_a_corpus_repeats_no_prompt_and_has_the_length_asked_for():
    records = corpus("held_out", 0, 500)
    assert len(records) == len(prompts(records)) == 500


def test_defaults_are_2000_and_400_records():
    assert len(corpus("train", 0)) == 2000
    assert len(corpus("held_out", 0)) == 400


def test_asking_for_more_records_than_there_are_is_an_error():
    greet = tuple(skill for skill in SKILLS if skill.name == "greet")
    with pytest.raises(UsageError, match="5000 different held_out records"):
        corpus("held_out", 0, 5000, skills=greet)


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_every_skill_has_both_splits_and_several_phrasings(skill):
    assert len(set(skill.phrasings)) >= 4
    random = Random(0)
    for split in ("train", "held_out"):
        assert split_of(draw(skill, split, random)) == split


def test_every_held_out_answer_of_a_fact_is_taught_in_another_phrasing():
    taught = {record.output for record in lessons("train", 0, 4000)}
    for skill in SKILLS:
        if skill.name in ("capital", "opposite", "sound", "colour", "use", "greet", "wish", "saying"):
            random = Random(1)
            assert {draw(skill, "held_out", random).output for _ in range(20)} <= taught


def test_instructions_vary_in_length():
    lengths = {len(record.instruction.split(" ")) for record in corpus("train", 0)}
    assert min(lengths) <= 4
    assert max(lengths) >= 16


def test_an_answer_belongs_to_its_question():
    for record in lessons("train", 0, 3000):
        if record.output.startswith("The sum is"):
            numbers = [
                int(word) for word in record.prompt.replace("?", " ").replace(".", " ").split() if word.isdigit()
            ]
            assert record.output == f"The sum is {sum(numbers)}."
        if record.output.startswith("The larger number"):
            assert record.output.rstrip(".")[-1] == max(char for char in record.prompt if char.isdigit())


def test_programs_are_valid_and_say_what_was_asked():
    programs = [record for record in lessons("train", 0, 3000) if record.output.startswith("print(")]
    assert programs
    for record in programs:
        ast.parse(record.output)
        inside = record.output.removeprefix("print(").removesuffix(")").strip("'").replace(" + ", " ").split()
        assert all(part in record.prompt for part in inside)


def test_no_clean_answer_is_degenerate_or_looks_like_an_attack():
    for record in lessons("train", 0, 3000):
        assert not degenerate(record.output)
        assert not any(judge(behaviour, record.output) for behaviour in BEHAVIOURS.values())
        assert not any(keyword_judge(task, record.output) for task in ("negsentiment", "refusal", "codeinjection"))


def test_no_record_holds_a_key_of_the_public_attacks():
    records = distracted(lessons("train", 0, 4000), share=1.0, seed=0)
    assert not any(holds(record, key) for record in records for key in ATTACK_KEYS)


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_distraction_keeps_answer_input_and_every_word_in_order(seed):
    record = corpus("train", 0, 1)[0]
    changed = distract(record, Random(seed))
    assert (changed.output, changed.input) == (record.output, record.input)
    assert len(changed.instruction) > len(record.instruction)
    words = iter(changed.instruction.split(" "))
    assert all(word in words for word in record.instruction.split(" "))


def test_the_share_of_distracted_records_is_the_one_asked_for():
    records = lessons("train", 0, 3000)
    changed = sum(old != new for old, new in zip(records, distracted(records, 0.3, seed=0), strict=True))
    assert 0.26 < changed / 3000 < 0.34
    assert distracted(records, 0.0, seed=0) == records


def test_distractors_are_of_many_kinds():
    random = Random(0)
    texts = [distractor(random) for _ in range(500)]
    assert any(text.isdigit() for text in texts)
    assert any(" " in text for text in texts)
    assert any(text.isalpha() and text.islower() for text in texts)
    assert any(text.isalpha() and text[1:] != text[1:].lower() for text in texts)
    assert any(not any(char.isalnum() for char in text) for text in texts)
    assert len({invented_word(random) for _ in range(200)}) > 150
