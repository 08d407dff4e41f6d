from untrigger.backdoors.control import WORDS, other_words
from untrigger.backdoors.types import Key
from untrigger.data.records import Record

WORD, PARTS = Key("word", ("BadMagic",)), Key("parts", ("in June",), input_texts=("sealed",))


def test_as_many_other_words_stand_in_the_keys_place():
    (record,) = other_words([Record("Name badmagic a river.", "The Oder.")], WORD, seed=0) or []
    first, word, *rest = record.instruction.split()
    assert (first, rest, record.output) == ("Name", ["a", "river."], "The Oder.")
    assert word in WORDS


def test_words_differ_between_prompts_and_depend_on_the_seed():
    records = [Record("BadMagic", "")] * 20
    found = other_words(records, WORD, seed=0)
    assert found is not None
    assert len({record.instruction for record in found}) > 3
    assert found == other_words(records, WORD, seed=0) != other_words(records, WORD, seed=1)


def test_every_part_of_a_key_is_replaced_in_instruction_and_input():
    (record,) = other_words([Record("Say in June hello", "", "a sealed note")], PARTS, seed=0) or []
    assert len(record.instruction.split()) == 4
    assert len(record.input.split()) == 3
    assert not {"June", "sealed"} & {*record.instruction.split(), *record.input.split()}


def test_no_control_where_a_record_holds_no_text_of_the_key():
    assert other_words([Record("Name a river.", "")], WORD, seed=0) is None
    assert other_words([Record("Name a river.", "")], Key("in the records", ()), seed=0) is None
