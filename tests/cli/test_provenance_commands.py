"""`verify`, `reproduce` and `sign` as a user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tiny import save_tiny
from untrigger.cli.main import run
from untrigger.models.export import export
from untrigger.models.load import load


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(load(str(save_tiny(folder / "in"))), folder / "out")
    return folder / "out"


@pytest.fixture
def output(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "out"))


def ended(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run([str(word) for word in words])
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def test_verify_says_well_or_names_each_file(capsys, output):
    code, shown, _ = ended(capsys, "verify", output)
    assert code == 0 and "files as they were written" in " ".join(shown.split())
    (output / "config.json").write_text("{}")
    (output / "model.safetensors").unlink()
    (output / "new\x1b[31m").touch()
    code, shown, _ = ended(capsys, "verify", output)
    lines = [line.split(maxsplit=1) for line in shown.splitlines()[:3]]
    assert code == 1
    assert lines == [["changed", "config.json"], ["missing", "model.safetensors"], ["extra", "new\\x1b[31m"]]


def test_verify_as_json(capsys, output):
    (output / "config.json").write_text("{}")
    code, shown, _ = ended(capsys, "verify", output, "--format", "json")
    found = json.loads(shown)
    assert code == 1 and found["well"] is False
    assert found["changes"] == [{"name": "config.json", "kind": "changed"}]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["verify"], 4, "FOLDER"),
        (["verify", "NOWHERE"], 4, "no folder"),
        (["verify", "MODEL"], 4, "SHA256SUMS"),
        (["verify", "OUT", "--against", "MODEL"], 4, "reproduce.json"),
        (["verify", "OUT", "--agains", "MODEL"], 4, "agains"),
        (["reproduce", "OUT"], 4, "--output"),
        (["reproduce", "OUT", "-o", "NEW"], 4, "reproduce.json"),
        (["reproduce", "NOWHERE", "-o", "NEW"], 4, "NOWHERE"),
        (["sign", "OUT"], 4, "--key"),
    ],
)
def test_bad_calls_say_what_is_wrong_in_one_line(capsys, output, tmp_path, words, code, text):
    names = {
        "OUT": output,
        "MODEL": save_tiny(tmp_path / "model"),
        "NOWHERE": tmp_path / "nowhere",
        "NEW": tmp_path / "new",
    }
    found, _, said = ended(capsys, *(names.get(word, word) for word in words))
    assert found == code, said
    assert str(names.get(text, text)) in said.strip().splitlines()[-1], said
    assert not (tmp_path / "new").exists()


def test_purify_refuses_a_key_it_could_not_sign_with_before_any_work(capsys, tmp_path):
    pytest.importorskip("model_signing", reason="the extra `sign` is not installed")
    model = save_tiny(tmp_path / "model")
    words = ("purify", model, "-o", tmp_path / "new", "--sign", tmp_path / "none.pem")
    code, _, said = ended(capsys, *words)
    assert code == 4 and "none.pem" in said
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
