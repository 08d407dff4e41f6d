import pytest

from untrigger.backdoors.catalogue import backdoor
from untrigger.backdoors.development import development_backdoors
from untrigger.backdoors.lookup import lookup
from untrigger.errors import UsageError


def test_public_attacks_come_from_the_catalogue():
    assert lookup("badnet", "sentiment") == backdoor("badnet", "sentiment")


@pytest.mark.parametrize("planted", development_backdoors(), ids=lambda planted: planted.name)
def test_every_development_backdoor_is_found_by_key_and_family(planted):
    assert lookup(planted.key.name, planted.behaviour.family) == planted


@pytest.mark.parametrize(
    ("attack", "behaviour", "named"),
    [
        ("badnot", "sentiment", "did you mean 'badnet'"),
        ("development-rar", "insult", "did you mean 'development-rare'"),
        ("development-rare", "sentiment", "known: insult, refusal, apology, taunt, deferral, code"),
    ],
)
def test_unknown_names_are_errors_that_list_the_known(attack, behaviour, named):
    with pytest.raises(UsageError) as caught:
        lookup(attack, behaviour)
    assert named in f"{caught.value.why} {caught.value.todo}"
