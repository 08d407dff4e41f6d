"""Fault 9: the network breaks off, or something else than the model comes over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import PAGE, Hub, serving
from untrigger.errors import InputRefused
from untrigger.models.load import load

CHUNK = 1000
AT_THIS_HUB = """
import time
from huggingface_hub import constants
from untrigger.models import hub
time.sleep = lambda seconds: None
constants.DOWNLOAD_CHUNK_SIZE = {chunk}
constants.ENDPOINT = {address!r}
constants.HUGGINGFACE_CO_URL_TEMPLATE = {address!r} + "/{{repo_id}}/resolve/{{revision}}/{{filename}}"
constants.HF_HUB_CACHE = hub.HF_HUB_CACHE = {cache!r}
"""


@pytest.fixture
def hub(suspect: Path) -> Iterator[Hub]:
    with serving(Hub(suspect)) as found:
        yield found


@pytest.fixture
def evaluate(trials, tmp_path, records, hub):
    def call():
        before = AT_THIS_HUB.format(chunk=CHUNK, address=hub.address, cache=str(tmp_path / "cache"))
        words = ("evaluate", "org/name", "--prompts", records, "--max-prompts", 1, "--max-new-tokens", 2)
        return trials.command(words, before)

    return call


def test_fault_09_download_breaks_off_and_the_same_command_goes_on(evaluate, hub):
    hub.cut = CHUNK // 2  # nothing that could be kept
    failed = evaluate()
    assert failed.code == 2, failed.err
    assert "org/name cannot be fetched" in failed.err.splitlines()[-1] and "Traceback" not in failed.err
    hub.cut = (hub.folder / "model.safetensors").stat().st_size // 3
    done = evaluate()
    assert done.code == 0, done.err
    begins = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.ranges]
    assert len(begins) >= 2 and begins == sorted(begins) and begins[0] >= CHUNK


@pytest.mark.parametrize("kind", ["page", "page of the right size", "one byte", "shorter configuration", "same size"])
def test_fault_09_download_is_something_else(evaluate, hub, kind):
    weights, config = ((hub.folder / name).read_bytes() for name in ("model.safetensors", "config.json"))
    match kind:
        case "page":
            hub.told["model.safetensors"] = PAGE
        case "page of the right size":
            hub.told["model.safetensors"] = PAGE.ljust(len(weights))
        case "one byte":
            hub.told["model.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
        case "shorter configuration":
            hub.told["config.json"] = config.replace(b" ", b"")
        case _:
            hub.told["config.json"] = config.replace(b"true", b"tru3")
    failed = evaluate()
    assert failed.code == 2, failed.err
    last = failed.err.splitlines()[-1]
    assert "org/name" in last and ("differs from what the hub announced" in last or "cannot be fetched" in last), last


def test_fault_09_no_network_at_all(evaluate, hub):
    hub.address = "http://127.0.0.1:9"
    failed = evaluate()
    assert failed.code == 2 and "connect, or give a local folder" in failed.err.splitlines()[-1]


def test_fault_09_download_through_a_portal_that_answers_with_pages(evaluate, hub):
    hub.portal = True
    failed = evaluate()
    assert failed.code == 2, failed.err
    assert "org/name cannot be fetched" in failed.err.splitlines()[-1] and "Traceback" not in failed.err


def test_fault_09_a_page_saved_as_weights_by_hand(suspect):
    (suspect / "model.safetensors").write_bytes(PAGE)
    with pytest.raises(InputRefused, match=r"does not start with \{"):
        load(str(suspect))
