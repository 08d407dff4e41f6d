from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import save_tiny
from untrigger.errors import InputRefused, UsageError
from untrigger.jobs.sign import check_key, sign
from untrigger.jobs.verify import verify
from untrigger.models.export import export
from untrigger.models.load import load

pytest.importorskip("model_signing", reason="the extra `sign` is not installed")

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def write_private(
    path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, encryption: KeySerializationEncryption
) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = folder / f"{name}.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return write_private(folder / f"{name}.pem", key, NoEncryption()), public


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(load(str(save_tiny(folder / "in"))), folder / "out")
    return folder / "out"


@pytest.fixture
def output(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "out"))


def test_a_signature_holds_under_its_key_alone(output: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, "own")
    _, other = write_keys(tmp_path, "other")
    assert verify(output, public_key=public).signature == "invalid"
    sign(output, private)
    assert verify(output).signature == "not checked" and verify(output).well
    assert verify(output, public_key=public).signature == "valid"
    stranger = verify(output, public_key=other)
    assert stranger.signature == "invalid" and not stranger.changes and not stranger.well
    assert "PRIVATE" not in (output / "model.sig").read_text()


def test_the_public_tool_takes_the_signature_after_the_folder_moved(output: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, "own")
    sign(output, private)
    moved = output.rename(tmp_path / "moved")
    words = ["verify", "key", str(moved), "--signature", str(moved / "model.sig"), "--public_key", str(public)]
    command = [sys.executable, "-m", "model_signing", *words]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (moved / "config.json").write_text("{}")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_forged_list_does_not_pass_the_signature(output: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, "own")
    sign(output, private)
    signature = (output / "model.sig").read_bytes()
    forged = tmp_path / "forged"
    export(load(str(save_tiny(tmp_path / "in", seed=1))), forged)
    (forged / "model.sig").write_bytes(signature)
    found = verify(forged, public_key=public)
    assert not found.changes and found.signature == "invalid" and not found.well


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"verificationMaterial": {}}', "\x00"])
def test_a_broken_signature_is_invalid(output: Path, tmp_path: Path, text: str) -> None:
    _, public = write_keys(tmp_path, "own")
    (output / "model.sig").write_text(text)
    assert verify(output, public_key=public).signature == "invalid"


def test_signing_again_changes_nothing_and_another_signature_is_not_replaced(output: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path, "own")
    other, _ = write_keys(tmp_path, "other")
    sign(output, private)
    before = json.loads((output / "model.sig").read_text())
    sign(output, private)
    with pytest.raises(UsageError, match="another key"):
        sign(output, other)
    assert json.loads((output / "model.sig").read_text()) == before


def test_a_changed_output_is_not_signed(output: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path, "own")
    (output / "extra").touch()
    with pytest.raises(InputRefused, match="extra extra"):
        sign(output, private)
    assert not (output / "model.sig").exists()


def test_keys_that_cannot_be_used_are_refused_without_showing_them(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = write_private(tmp_path / "encrypted.pem", key, BestAvailableEncryption(b"word"))
    other_curve = write_private(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP256K1()), NoEncryption())
    other_kind = write_private(tmp_path / "rsa.pem", rsa.generate_private_key(65537, 2048), NoEncryption())
    (tmp_path / "secret.txt").write_text("my secret")
    for path in (encrypted, other_curve, other_kind, tmp_path / "secret.txt", tmp_path / "none.pem", tmp_path):
        with pytest.raises(UsageError) as refused:
            check_key(path)
        assert path.name in refused.value.line() and "my secret" not in refused.value.line()
