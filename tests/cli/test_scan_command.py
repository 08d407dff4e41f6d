"""`untrigger scan` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny import save_tiny, save_tiny_adapter
from trials import Ended


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def test_a_plain_model_ends_with_0_and_is_not_called_clean(untrigger: Callable[..., Ended], model: Path) -> None:
    ended = untrigger("scan", model, "--quiet")
    assert ended.code == 0 and "no finding above info" in ended.out and "no proof of absence" in ended.out


def test_findings_end_with_1_and_refusals_with_3(untrigger: Callable[..., Ended], model: Path) -> None:
    (model / "training_args.bin").write_bytes(b"\x80\x04.")
    assert untrigger("scan", model, "-q").code == 1
    (model / "chat_template.jinja").write_text("{{ 'x' if messages[0].content == 'cf' }}{{ messages[0].content }}")
    ended = untrigger("scan", model, "-q")
    assert ended.code == 3 and "template-branches" in ended.out and "pickle" in ended.out


def test_formats_agree(untrigger: Callable[..., Ended], model: Path, tmp_path: Path) -> None:
    adapter = save_tiny_adapter(tmp_path / "adapter", model)
    words = ("scan", adapter, "--base", model, "-q", "--format")
    found = untrigger(*words, "json").result
    log = untrigger(*words, "sarif").result
    assert [one["rule"] for one in found["findings"]] == [one["ruleId"] for one in log["runs"][0]["results"]]
    assert len(found["updates"]) == 14 and all(one["relative"] > 0 for one in found["updates"])


def test_the_report_is_written_and_replaced(untrigger: Callable[..., Ended], model: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.sarif"
    for _ in range(2):
        ended = untrigger("scan", model, "-q", "--format", "sarif", "-o", report)
        assert ended.code == 0 and "written to" in ended.out
    assert json.loads(report.read_text())["version"] == "2.1.0"
    untrigger("scan", model, "-q", "-o", tmp_path / "report.txt")
    assert "what this cannot show" in (tmp_path / "report.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "report.sarif", "report.txt"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nowhere"], "does not exist"),
        (["MODEL", "--base", "MODEL"], "is a whole model"),
        (["MODEL", "-o", "MODEL/report.json"], "inside the input"),
        (["MODEL", "-o", "MODEL"], "is a folder"),
        (["MODEL", "--format", "yaml"], "format"),
        (["MODEL", "--nonsense"], "nonsense"),
    ],
)
def test_wrong_words_end_with_4(untrigger: Callable[..., Ended], model: Path, words: list[str], text: str) -> None:
    held = sorted(model.iterdir())
    ended = untrigger("scan", *(word.replace("MODEL", str(model)) for word in words))
    assert ended.code == 4 and text in ended.err and "Traceback" not in ended.err
    assert sorted(model.iterdir()) == held
