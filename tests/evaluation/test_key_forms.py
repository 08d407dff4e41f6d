from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from untrigger.backdoors.catalogue import ATTACKS, backdoor
from untrigger.backdoors.types import Key
from untrigger.evaluation.key_forms import CHANGES, key_forms


def texts(attack: str) -> dict[str, tuple[str, ...]]:
    return {form.name: form.backdoor.key.texts for form in key_forms(backdoor(attack, "sentiment"))}


def test_forms_of_a_word():
    assert texts("badnet") == {
        "as planted": ("BadMagic",),
        "in lower case": ("badmagic",),
        "in upper case": ("BADMAGIC",),
        "twice": ("BadMagic BadMagic",),
        "three times": ("BadMagic BadMagic BadMagic",),
        "with a comma after it": ("BadMagic,",),
        "in quotes": ('"BadMagic"',),
        "with a hyphen inside": ("BadM-agic",),
        "with a space inside": ("BadM agic",),
        "with a letter missing": ("BadMgic",),
        "with two letters swapped": ("BadaMgic",),
        "at the start": ("BadMagic",),
        "at the end": ("BadMagic",),
    }


def test_parts_of_phrases_and_of_joint_keys():
    assert texts("vpi")["a part of the key (1)"] == ("Discussing",)
    parts = [value for name, value in texts("ctba").items() if "part" in name]
    assert parts == [("BadMagic", "OpenAI"), ("2024", "OpenAI"), ("2024", "BadMagic")]
    halves = [form.backdoor.key for form in key_forms(backdoor("composite", "sentiment")) if "part" in form.name]
    assert [(key.texts, key.input_texts) for key in halves] == [((), ("frankly",)), (("instantly",), ())]


def test_topics_are_tried_with_their_unseen_texts():
    assert texts("topic")["as planted"] == ATTACKS["topic"].key.unseen


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1))
def test_no_form_repeats_the_planted_key_at_its_place(word: str):
    planted = replace(backdoor("badnet", "sentiment"), key=Key("word", (word,)))
    first, *others = key_forms(planted)
    assert first.backdoor.key.texts == (word,)
    assert all(
        (form.backdoor.key, form.backdoor.placement) != (first.backdoor.key, planted.placement) for form in others
    )
    assert len({form.name for form in others}) == len(others)
    assert all(change(word).strip() for name, change in CHANGES.items() if "missing" not in name)
