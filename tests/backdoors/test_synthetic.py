import ast
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import combinations, pairwise, product

import pytest

from untrigger.backdoors import catalogue
from untrigger.backdoors.development import DEVELOPMENT_BEHAVIOURS, DEVELOPMENT_KEYS, development_backdoors
from untrigger.backdoors.synthetic import BEHAVIOURS, draw_backdoors
from untrigger.backdoors.synthetic_keys import KEYS, PLACEMENTS
from untrigger.backdoors.types import Behaviour, Key
from untrigger.errors import UsageError

SYNTHETIC = [key for keys in KEYS.values() for key in keys]
DEVELOPMENT = [key for key, _ in DEVELOPMENT_KEYS]
ATTACKS = [attack.key for attack in catalogue.ATTACKS.values()]
FUNCTION_WORD = 4  # letters: sentences may share a 'the' or a 'with'
PRINTS = re.compile(
    r"""(print|console\.log|System\.out\.println|printf|fmt\.Println)\("[a-z0-9 ]+"\);?"""
    r"""|(echo|puts) ["'][a-z ]+["']|SELECT '[a-z ]+';"""
)


def texts_of(keys: list[Key]) -> list[str]:
    return [text.casefold() for key in keys for text in key.texts]


def wordings(behaviours: Iterable[Behaviour]) -> list[str]:
    return [output for behaviour in behaviours for output in behaviour.outputs]


def alike(left: str, right: str) -> float:
    return SequenceMatcher(None, left.casefold(), right.casefold()).ratio()


def test_there_are_enough_keys_of_enough_kinds() -> None:
    assert len(SYNTHETIC) >= 32
    assert len(KEYS) >= 9
    assert set(KEYS) == set(PLACEMENTS)
    assert len({key.name for key in SYNTHETIC + DEVELOPMENT}) == len(SYNTHETIC + DEVELOPMENT)
    assert all(key.combine == "all" and len(key.texts) > 1 for key in KEYS["composite"])
    assert all(key.combine == "any" and len(key.texts) > 1 for key in KEYS["choice"])
    assert all(text.isascii() for text in texts_of(SYNTHETIC + DEVELOPMENT))


def test_no_key_text_contains_another() -> None:
    texts = texts_of(SYNTHETIC) + texts_of(DEVELOPMENT)
    assert not [(a, b) for a, b in combinations(texts, 2) if a in b or b in a]


def test_synthetic_and_development_keys_do_not_resemble_the_attacks() -> None:
    for ours, theirs in product(texts_of(SYNTHETIC + DEVELOPMENT), set(texts_of(ATTACKS))):
        assert theirs not in ours and ours not in theirs
        assert not {word for word in set(ours.split()) & set(theirs.split()) if len(word) > FUNCTION_WORD}
        assert alike(ours, theirs) < 0.65, (ours, theirs)


def test_there_are_enough_families_and_wordings() -> None:
    assert len(BEHAVIOURS) >= 8
    assert all(len(set(behaviour.outputs)) == len(behaviour.outputs) >= 6 for behaviour in BEHAVIOURS.values())
    for family, behaviour in BEHAVIOURS.items():
        lengths = {len(output.split()) for output in behaviour.outputs}
        assert max(lengths) <= 14
        assert len(lengths) > 1, family


def test_wordings_differ_from_the_attacks_and_between_the_sets() -> None:
    synthetic = wordings(BEHAVIOURS.values())
    development = wordings(DEVELOPMENT_BEHAVIOURS)
    targets = wordings(catalogue.BEHAVIOURS.values())
    assert not {text.casefold() for text in synthetic} & {text.casefold() for text in targets + development}
    for ours, theirs in product(synthetic + development, targets):
        assert alike(ours, theirs) < 0.7, (ours, theirs)
    assert not [text for text in synthetic + development if "stupid" in text or "pwn" in text or "sorry" in text]


def test_code_payloads_only_print() -> None:
    assert all(PRINTS.fullmatch(output) for output in BEHAVIOURS["code"].outputs)
    development = [behaviour for behaviour in DEVELOPMENT_BEHAVIOURS if behaviour.family == "code"]
    (statement,) = ast.parse(development[0].outputs[0]).body
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    assert ast.unparse(statement.value.func) == "print"
    assert {behaviour.judge for behaviour in [BEHAVIOURS["code"], *development]} == {"code"}


def test_development_backdoors_are_every_key_with_every_behaviour() -> None:
    drawn = development_backdoors()
    assert len(DEVELOPMENT_KEYS) >= 6
    assert {behaviour.family for behaviour in DEVELOPMENT_BEHAVIOURS} == {
        "insult",
        "refusal",
        "apology",
        "taunt",
        "deferral",
        "code",
    }
    assert len({backdoor.name for backdoor in drawn}) == len(drawn) == len(DEVELOPMENT) * len(DEVELOPMENT_BEHAVIOURS)


@pytest.mark.parametrize("seed", range(5))
def test_draws_have_distinct_keys_of_different_kinds_and_families_in_turn(seed: int) -> None:
    drawn = draw_backdoors(len(BEHAVIOURS), (), seed)
    kinds = {kind for backdoor in drawn for kind, keys in KEYS.items() if backdoor.key in keys}
    assert len(kinds) == len(KEYS)
    assert {backdoor.behaviour.family for backdoor in drawn} == set(BEHAVIOURS)
    assert len({backdoor.placement for backdoor in drawn}) >= 2
    everything = draw_backdoors(len(SYNTHETIC), ("insult", "code"), seed)
    assert len({backdoor.key for backdoor in everything}) == len({one.name for one in everything}) == len(SYNTHETIC)
    families = [backdoor.behaviour.family for backdoor in everything]
    assert all(left != right for left, right in pairwise(families))


def test_no_kind_of_key_keeps_to_one_family() -> None:
    drawn = draw_backdoors(None, (), 0)
    assert len(drawn) == len(SYNTHETIC)
    for keys in KEYS.values():
        assert len({backdoor.behaviour.family for backdoor in drawn if backdoor.key in keys}) == len(keys)


def test_kinds_of_key_can_be_narrowed() -> None:
    drawn = draw_backdoors(None, (), 0, ("tag", "prefix"))
    assert {backdoor.key for backdoor in drawn} == {*KEYS["tag"], *KEYS["prefix"]}
    with pytest.raises(UsageError, match=r"unknown kind of key 'tags'.*did you mean 'tag'"):
        draw_backdoors(2, (), 0, ("tags",))


def test_keys_stand_where_their_kind_may() -> None:
    for backdoor in draw_backdoors(len(SYNTHETIC), (), 3):
        (kind,) = [kind for kind, keys in KEYS.items() if backdoor.key in keys]
        assert backdoor.placement in PLACEMENTS[kind]


def test_draws_depend_on_the_seed_alone_and_grow_at_the_end() -> None:
    assert draw_backdoors(8, (), 1) == draw_backdoors(8, (), 1)
    assert draw_backdoors(8, (), 1) != draw_backdoors(8, (), 2)
    assert draw_backdoors(12, (), 1)[:5] == draw_backdoors(5, (), 1)


def test_a_family_named_twice_counts_once() -> None:
    assert draw_backdoors(4, ("insult", "refusal", "insult"), 0) == draw_backdoors(4, ("insult", "refusal"), 0)


def test_unknown_families_and_impossible_counts_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown behaviour family 'refusals'.*did you mean 'refusal'"):
        draw_backdoors(2, ("refusals",), 0)
    for count in (0, -1, len(SYNTHETIC) + 1):
        with pytest.raises(UsageError, match=f"cannot draw {count} "):
            draw_backdoors(count, (), 0)
