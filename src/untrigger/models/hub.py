"""Models from the Hugging Face hub: a pinned commit, nothing but data files, sizes and hashes checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from untrigger.errors import InputRefused, UntriggerError
from untrigger.files import require_space, sha256
from untrigger.models.subject import Source

PINNED_ID = r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<commit>[0-9a-f]{40}))?"
"""Pattern of `org/name` and `org/name@<40 hex digits>`."""
FAILURES = (
    HfHubHTTPError,
    HTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    LocalEntryNotFoundError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
)
"""What a fetch from the hub may end in; the last three if something else answers in the hub's place."""
_REFERENCE = re.compile(rf"(?:hf://)?{PINNED_ID}", re.ASCII)
_LIKE_A_REFERENCE = re.compile(r"(?:hf://)?[^\s/]+/[^\s/]+")
_ALLOWED = ["README.md", "*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
# Fetched alone: a hub that refuses it is not asked for the others, each of which the library tries several times.
_FIRST = ["config.json", "adapter_config.json"]
# Other formats lie in subfolders; `consolidated` files hold the weights again in a layout of their own.
_IGNORED = ["*/*", "consolidated*"]


def is_hub_reference(reference: str) -> bool:
    """Whether the text has the form `org/name`, `org/name@<40 hex digits>` or `hf://org/name@...`."""
    return _REFERENCE.fullmatch(reference) is not None


def refuse_look_alike(reference: str) -> None:
    """Look at a reference that is nothing on this machine.

    Raises:
        InputRefused: it has the form of a hub id, with letters that ids do not have and that may look like others.
    """
    if not reference.isascii() and _LIKE_A_REFERENCE.fullmatch(reference):
        shown = reference.encode("ascii", "backslashreplace").decode()
        raise InputRefused(
            f"{shown} is no path here and no hub id",
            why="ids are in ASCII, and these letters may look like others",
            todo="type it anew",
        )


def download(reference: str) -> Source:
    """Fetch a model into the hub's own cache, at the stated commit or at the newest one, which is recorded.

    Raises:
        InputRefused: the hub leads the id to a model of another name.
        UntriggerError: not found, no access, offline, no space, or a file whose hash is not the hub's.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UntriggerError(f"{reference} is no hub id", todo="write org/name or hf://org/name@<commit>")
    try:
        return _fetch(reference, match["id"], match["commit"])
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise UntriggerError(
            f"hub model {reference} is not found or not open to you",
            todo="check the id; for a gated model run: hf auth login",
        ) from error
    except FAILURES as error:
        raise UntriggerError(
            f"hub model {reference} cannot be fetched",
            why=str(error).partition("\n")[0],
            todo="connect, or give a local folder",
        ) from error


def _fetch(reference: str, model: str, commit: str | None) -> Source:
    info = HfApi().model_info(model, revision=commit, files_metadata=True)
    if info.id.casefold() != model.casefold():
        raise InputRefused(
            f"hub model {reference} is now {info.id}",
            why="it was renamed, or is another's",
            todo=f"name {info.id} if it is the one you mean",
        )
    require_space(Path(HF_HUB_CACHE), sum(_sizes(info).values()))
    for patterns in (_FIRST, _ALLOWED):
        folder = Path(
            snapshot_download(
                model, revision=info.sha, allow_patterns=patterns, ignore_patterns=_IGNORED, max_workers=4
            )
        )
    for file in info.siblings or ():
        path = folder / file.rfilename
        if path.exists() and not _as_announced(path, file):
            raise UntriggerError(
                f"hub model {reference}: {file.rfilename} differs from what the hub announced",
                todo=f"delete {path} and fetch it again",
            )
    return Source(reference=reference, folder=folder, commit=info.sha)


def _sizes(info: ModelInfo) -> dict[str, int]:
    return {
        file.rfilename: file.size or 0
        for file in info.siblings or ()
        if "/" not in file.rfilename and file.rfilename.endswith((".safetensors", ".json"))
    }


def _as_announced(path: Path, file: RepoSibling) -> bool:
    """Whether a file has the size and the hash that the hub tells: SHA-256 of large ones, git's own of the others."""
    if file.size is not None and path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return sha256(path) == file.lfs.sha256
    return file.blob_id is None or git_hash(path.read_bytes()) == file.blob_id


def git_hash(data: bytes) -> str:
    """The name that git, and so the hub, gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
