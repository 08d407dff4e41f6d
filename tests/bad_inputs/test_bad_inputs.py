"""Every bad input of the table, given to the command line as a real file or folder."""

from __future__ import annotations

import pytest
from cases import DONE, Case, evaluate, purify, scan
from table import ROWS

from hostile import ROOM, ceiling, measured

ERRORS = {2: "failure", 3: "input_refused", 4: "usage"}
EVERY = [
    pytest.param(case, case is row.cases[0], id=f"{row.number:02} {case.name}") for row in ROWS for case in row.cases
]


@pytest.fixture(scope="session")
def imported() -> None:
    """What a command imports is no cost of an input."""
    import transformers.models.llama.modeling_llama

    import untrigger.cli.screen
    import untrigger.cli.show
    import untrigger.cli.show_scan
    import untrigger.jobs.attack
    import untrigger.jobs.evaluate
    import untrigger.jobs.purify
    import untrigger.jobs.scan

    del transformers, untrigger


@pytest.mark.parametrize(("case", "first"), EVERY)
def test_bad_input(case: Case, first: bool, place, untrigger, imported, request) -> None:
    case.spoil(place)
    words, before = case.words(place, first=first), place.inputs()
    with measured() as used, ceiling(), case.within():
        ended = untrigger(*words)
    request.node.user_properties += [("seconds", round(used.seconds, 2)), ("megabytes", used.memory >> 20)]
    assert ended.code in case.codes, ended
    assert all(word in ended.said for word in case.named), ended.said
    assert "Traceback" not in ended.err and not place.opened.exists() and place.inputs() == before
    if ended.failed:
        assert ended.error["error_code"] == ERRORS[ended.code] and ended.said.isprintable()
        assert not (place.out / "COMPLETE").exists()
    if case.after is not None:
        case.after(place, ended)
    assert used.seconds < case.seconds and used.memory < ROOM


@pytest.mark.parametrize(
    "command", [purify(), purify(of="adapter"), evaluate(), scan()], ids=["purify", "an adapter", "evaluate", "scan"]
)
def test_the_same_files_unspoilt_are_accepted(command, place, untrigger) -> None:
    ended = untrigger(*command(place))
    assert ended.code in DONE and not ended.result["findings"], ended


def test_every_row_is_there_once_with_its_cases() -> None:
    assert [row.number for row in ROWS] == list(range(1, 45))
    assert all(len({case.name for case in row.cases}) == len(row.cases) > 0 for row in ROWS)
