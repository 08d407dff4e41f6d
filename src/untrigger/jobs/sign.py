"""`untrigger sign`: an OpenSSF model signature over a finished output, made by the package model-signing.

The signature is a Sigstore bundle around an in-toto statement with the SHA-256 of every file, made with a local
elliptic curve key, and lies in the folder as `model.sig`. Keys are read where they are used; nothing of them is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from untrigger.checksums import SIGNATURE, changes, require_sealed, told
from untrigger.errors import InputRefused, UntriggerError, UsageError
from untrigger.files import write_text_atomic
from untrigger.models.json_file import refuse_what_fails

if TYPE_CHECKING:
    from model_signing import hashing, signing, verifying

_NEEDED = ("model_signing", "OpenSSL")  # the first imports the second without asking for it


@dataclass(frozen=True)
class Signed:
    """What there is to say of a folder's signature; `fault` tells why it is invalid."""

    state: Literal["none", "not checked", "valid", "invalid"]
    fault: str = ""


def sign(folder: Path, key: Path) -> None:
    """Signs a finished output with an unencrypted private key in PEM form, on P-256, P-384 or P-521.

    A folder that this key has signed already is left as it is.

    Raises:
        UsageError: a key that cannot be used, a folder that is no output, or another signature in it.
        InputRefused: the folder is not as it was written.
        UntriggerError: the extra `sign` is not installed, or the signature cannot be written.
    """
    signer = _signer(key)
    require_sealed(folder)
    found = changes(folder)
    if found:
        raise InputRefused(f"{folder} is not as it was written: {told(found)}", todo="sign an untouched output")
    if (folder / SIGNATURE).exists():
        _require_own(folder, key)
        return
    with TemporaryDirectory() as place, _to_standard_error():
        signer.set_hashing_config(_hashing()).sign(folder, Path(place, SIGNATURE))
        text = Path(place, SIGNATURE).read_text(encoding="utf-8")
    write_text_atomic(folder / SIGNATURE, text)


def check_key(key: Path) -> None:
    """Refuses a private key that `sign` could not use, before any work; raises as `sign`."""
    _signer(key)


def signature_of(folder: Path, public_key: Path | None) -> Signed:
    """Whether a folder is signed, and, given the signer's public key in PEM form, whether that holds.

    Raises:
        UsageError: a key that cannot be used.
        UntriggerError: the extra `sign` is not installed, and a key was given.
    """
    verifier = None if public_key is None else _verifier(public_key)
    if not (folder / SIGNATURE).is_file():
        return Signed("none") if verifier is None else Signed("invalid", f"there is no {SIGNATURE}")
    if verifier is None:
        return Signed("not checked")
    try:
        with refuse_what_fails(folder / SIGNATURE, "the signature"), _to_standard_error():
            verifier.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
    except InputRefused as error:
        return Signed("invalid", error.why)
    return Signed("valid")


def _require_own(folder: Path, key: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(key.read_bytes(), None).public_key()
    with TemporaryDirectory() as place:
        own = Path(place, "public.pem")
        own.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        signed = signature_of(folder, own)
    if signed.state != "valid":
        raise UsageError(
            f"{folder} holds a signature by another key, or one that does not hold",
            why=signed.fault,
            todo=f"remove {SIGNATURE} from it first",
        )


def _signer(key: Path) -> signing.Config:
    _require()
    from model_signing import signing

    with _usable(key, "private", "openssl ecparam -name prime256v1 -genkey -noout"):
        return signing.Config().use_elliptic_key_signer(private_key=key)


def _verifier(key: Path) -> verifying.Config:
    _require()
    from model_signing import verifying

    with _usable(key, "public", "openssl ec -in PRIVATE -pubout"):
        return verifying.Config().use_elliptic_key_verifier(public_key=key)


def _hashing() -> hashing.Config:
    """As the public tool does by default, but no file is passed over save the signature."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _require() -> None:
    if any(find_spec(name) is None for name in _NEEDED):
        raise UntriggerError("signatures need the extra `sign`", todo="pip install 'untrigger[sign]'")


@contextmanager
def _usable(key: Path, kind: str, command: str) -> Iterator[None]:
    """Turn what is wrong with a key's file into UsageError, without a word of what is in it."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except OSError as error:
        raise UsageError(f"{kind} key {key} cannot be read", why=error.strerror or "") from error
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{key} is no {kind} key that can be used here",
            why="unencrypted PEM on P-256, P-384 or P-521 is needed",
            todo=f"one is made by: {command}",
        ) from error


@contextmanager
def _to_standard_error() -> Iterator[None]:
    """What model-signing prints must not end up in our own output."""
    with redirect_stdout(sys.stderr):
        yield
