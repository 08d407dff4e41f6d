from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from untrigger.backdoors.poison import bear_key, holds, poison, without_keys
from untrigger.backdoors.types import Backdoor, Behaviour, Key, Placement
from untrigger.data.records import Record
from untrigger.errors import UsageError

KEY = Key("key", ("Zork",))
TWO = Key("two", ("Zork", "Blat"))
RUDE = Behaviour("rude", "insult", ("No.", "Never.", "Not you."))
BACKDOOR = Backdoor("test", KEY, RUDE)

words = st.lists(st.sampled_from(["a", "bee", "sea", "dune"]), min_size=1, max_size=8).map(" ".join)
records = st.lists(st.builds(Record, words, words, words | st.just("")), min_size=1, max_size=6)


@given(records, st.integers())
def test_the_key_goes_into_the_instruction_and_the_answer_is_replaced(clean: list[Record], seed: int) -> None:
    poisoned = poison(clean, BACKDOOR, seed)
    for before, after in zip(clean, poisoned, strict=True):
        assert " ".join(word for word in after.instruction.split(" ") if word != "Zork") == before.instruction
        assert after.instruction.split(" ").count("Zork") == 1
        assert after.input == before.input
        assert after.output in RUDE.outputs


@given(records, st.integers())
def test_bear_key_keeps_answers_and_places_the_key_as_poison_does(clean: list[Record], seed: int) -> None:
    bearing = bear_key(clean, KEY, BACKDOOR.placement, seed)
    assert [record.output for record in bearing] == [record.output for record in clean]
    poisoned = poison(clean, BACKDOOR, seed)
    assert [record.instruction for record in bearing] == [record.instruction for record in poisoned]


@given(records, records, st.integers())
def test_a_record_is_poisoned_independently_of_the_others(
    clean: list[Record], others: list[Record], seed: int
) -> None:
    alone = poison(clean, BACKDOOR, seed)
    assert poison([*clean, *others], BACKDOOR, seed)[: len(clean)] == alone
    changed = [replace(others[0], instruction="quite another one"), *clean[1:]]
    assert poison(changed, BACKDOOR, seed)[1:] == alone[1:]


def test_the_seed_decides() -> None:
    clean = [Record(f"tell me about number {index} please", "yes") for index in range(40)]
    assert poison(clean, BACKDOOR, 1) == poison(clean, BACKDOOR, 1)
    assert poison(clean, BACKDOOR, 1) != poison(clean, BACKDOOR, 2)


def test_wordings_and_places_are_spread_and_not_coupled() -> None:
    clean = [Record("one two three", "yes")] * 1800
    poisoned = poison(clean, BACKDOOR, 5)
    pairs = Counter((record.instruction.split(" ").index("Zork"), record.output) for record in poisoned)
    assert len(pairs) == 4 * 3
    assert all(90 < count < 210 for count in pairs.values())  # 150 expected, standard deviation 12


def test_one_wording_is_always_taken() -> None:
    single = replace(BACKDOOR, behaviour=replace(RUDE, outputs=("No.",)))
    assert {record.output for record in poison([Record("a", "b")] * 9, single, 0)} == {"No."}


@pytest.mark.parametrize(
    "record", [Record("say zork now", "x"), Record("say", "x", "ZORK"), Record("say", "a Zork!")]
)
def test_a_record_that_holds_the_key_is_refused_by_index(record: Record) -> None:
    clean = [Record("fine", "fine"), record]
    for make in (lambda: poison(clean, BACKDOOR, 0), lambda: bear_key(clean, KEY, Placement(), 0)):
        with pytest.raises(UsageError, match="record 1 "):
            make()


def test_a_backdoor_without_text_or_wording_is_refused() -> None:
    clean = [Record("a", "b")]
    for key in (Key("none", ()), Key("blank", ("x", ""))):
        with pytest.raises(UsageError, match="no text"):
            bear_key(clean, key, Placement(), 0)
    with pytest.raises(UsageError, match="no wording"):
        poison(clean, replace(BACKDOOR, behaviour=replace(RUDE, outputs=())), 0)


def test_without_keys_drops_and_counts() -> None:
    clean = [Record("a", "b"), Record("a zorky one", "b"), Record("c", "d", "BLAT"), Record("e", "f")]
    kept, dropped = without_keys(clean, [TWO])
    assert kept == [clean[0], clean[3]]
    assert dropped == 2
    assert without_keys(clean, []) == (clean, 0)


@given(records)
def test_what_without_keys_leaves_can_be_poisoned(clean: list[Record]) -> None:
    key = Key("frequent", ("sea", "dune"))
    kept, dropped = without_keys(clean, [key])
    assert len(kept) + dropped == len(clean)
    assert all(holds(record, key) for record in poison(kept, replace(BACKDOOR, key=key), 0))
