"""Row 37: the hub, played by a server on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from cases import DONE, Case, Ended, Place, Row, evaluate, purify
from huggingface_hub import constants

from hub_server import COMMIT, Hub, serving
from untrigger.models import hub

NAME = "org/name"
MOST_REQUESTS = 10


def served(**manners: object) -> Callable[[Place], None]:
    """The good model on a hub with these manners."""

    def spoil(place: Place) -> None:
        found = place.stack.enter_context(serving(Hub(place.model, asked=place.asked, **manners)))
        place.ports.add(int(found.address.rpartition(":")[2]))
        use(place, found.address)

    return spoil


def use(place: Place, address: str) -> None:
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for owner, name, value in (
        (constants, "ENDPOINT", address),
        (constants, "HUGGINGFACE_CO_URL_TEMPLATE", template),
        (constants, "HF_HUB_CACHE", str(place.root / "hub")),
        (hub, "HF_HUB_CACHE", str(place.root / "hub")),
        (time, "sleep", lambda seconds: None),
    ):
        place.patch.setattr(owner, name, value)


def offline(place: Place) -> None:
    served()(place)
    place.patch.setattr(constants, "HF_HUB_OFFLINE", True)


def nothing(place: Place) -> None:
    """No case needs a file for a name that is none."""


def asks_little(place: Place, ended: Ended) -> None:
    assert len(place.asked) <= MOST_REQUESTS, place.asked


def asks_nothing(place: Place, ended: Ended) -> None:
    assert not place.asked


def pinned(place: Place, ended: Ended) -> None:
    """Every file is asked for at the commit that was told first, whatever the newest is by then."""
    assert ended.result["source"]["commit"] == COMMIT
    files = [path for path in place.asked if "/resolve/" in path]
    assert files and all(f"/resolve/{COMMIT}/" in path for path in files)


def command(name: str = NAME) -> Callable[[Place], list[object]]:
    return lambda place: ["purify", name, *purify()(place)[2:]]


def asking(place: Place) -> list[object]:
    return ["evaluate", NAME, *evaluate()(place)[2:]]


NOT_OPEN = (NAME, "is not found or not open to you")
FETCH = (NAME, "cannot be fetched", "connect, or give a local folder")
ROWS = (
    Row(
        37,
        "A hub id that is not what it seems, or a hub that does not answer",
        "The newest commit is asked for once, and every file is fetched at that commit. Everything else ends at once"
        " with one line and the id.",
        (
            Case("an id in other letters than ASCII", nothing, ("org/n\\u0430me",), 3, command("org/n\u0430me")),
            Case(
                "an id that now leads to another",
                served(name="evil/other"),
                (NAME, "evil/other"),
                3,
                command(),
                asks_little,
            ),
            Case("a revision that moves on meanwhile", served(moving=True), (), DONE, asking, pinned),
            Case("gated (403)", served(status=403, error="GatedRepo"), NOT_OPEN, 2, command(), asks_little),
            Case(
                "files gated, not the id",
                served(file_status=403, error="GatedRepo"),
                (NAME,),
                2,
                command(),
                asks_little,
            ),
            Case("not there (404)", served(status=404, error="RepoNotFound"), NOT_OPEN, 2, command(), asks_little),
            Case(
                "a commit that is not there (404)",
                served(status=404, error="RevisionNotFound"),
                NOT_OPEN,
                2,
                command(f"{NAME}@{COMMIT}"),
                asks_little,
            ),
            Case("not there (401)", served(status=401, error="RepoNotFound"), NOT_OPEN, 2, command(), asks_little),
            Case("too many requests (429)", served(status=429), FETCH, 2, command(), asks_little),
            Case("too many requests for files (429)", served(file_status=429), FETCH, 2, command(), asks_little),
            Case("broken (500)", served(status=500), FETCH, 2, command(), asks_little),
            Case("offline", offline, FETCH, 2, command(), asks_nothing),
        ),
        "`org/name@COMMIT` names a commit",
    ),
)
