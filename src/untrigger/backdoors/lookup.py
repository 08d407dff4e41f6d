"""Any backdoor that can be planted or measured, by name: the public attacks and the development set."""

from __future__ import annotations

from untrigger.backdoors import catalogue
from untrigger.backdoors.catalogue import unknown_name
from untrigger.backdoors.development import DEVELOPMENT_BEHAVIOURS, DEVELOPMENT_KEYS, development_backdoors
from untrigger.backdoors.types import Backdoor

DEVELOPMENT = "development-"


def lookup(attack: str, behaviour: str) -> Backdoor:
    """The attack bound to the behaviour.

    Names that begin with `development-` are keys of the development set, which have behaviours of their own.

    Raises:
        UsageError: either name is unknown.
    """
    if not attack.startswith(DEVELOPMENT):
        return catalogue.backdoor(attack, behaviour)
    known = {(backdoor.key.name, backdoor.behaviour.family): backdoor for backdoor in development_backdoors()}
    if (attack, behaviour) in known:
        return known[attack, behaviour]
    keys, families = [key.name for key, _ in DEVELOPMENT_KEYS], [one.family for one in DEVELOPMENT_BEHAVIOURS]
    if attack not in keys:
        raise unknown_name(attack, "attack", keys)
    raise unknown_name(behaviour, "behaviour of the development set", families)
