"""Where a user's reference to data leads: a local file, one in the data folder, or one on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE

from untrigger.errors import UntriggerError, UsageError
from untrigger.files import require_space
from untrigger.models.hub import FAILURES, PINNED_ID

DATA_FOLDER = "UNTRIGGER_DATA"
"""Environment variable with the folder that relative paths of data are looked for in."""
SCHEME = "hf://"
FORM = "hf://datasets/org/name[@commit]/file.json"
_REFERENCE = re.compile(rf"hf://datasets/{PINNED_ID}" r"/(?P<file>(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.jsonl?)", re.ASCII)

# Where huggingface_hub keeps the files of a data set at a commit, below its cache.
_CACHED = re.compile(r"datasets--(?P<org>.+?)--(?P<name>.+?)/snapshots/(?P<commit>[0-9a-f]{40})/(?P<file>.+)")


def data_file(reference: str) -> Path:
    """The local file that a user's reference to data names.

    A relative path is looked for in the working folder and then in the folder that UNTRIGGER_DATA names; a file of a
    data set on the hub, at a pinned commit, is fetched into the hub's own cache.

    Raises:
        UsageError: a hub reference of another form.
        UntriggerError: not found, no access, offline or no space.
    """
    if not reference.startswith(SCHEME):
        return _local(reference)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError(f"{reference} names no data file on the hub", todo=f"write {FORM} (or .jsonl)")
    try:
        return _fetch(match["id"], match["commit"], match["file"])
    except FAILURES as error:
        raise UntriggerError(
            f"{reference} cannot be fetched",
            why=str(error).partition("\n")[0],
            todo="check the id, connect, or give a local file",
        ) from error


def optional_data_file(reference: str | None) -> Path | None:
    """`data_file` of a reference, None of none."""
    return None if reference is None else data_file(reference)


def hub_reference(path: Path) -> str | None:
    """The pinned reference of a file in the hub's cache, which `data_file` reads back; None of any other file."""
    cache = Path(HF_HUB_CACHE)
    found = _CACHED.fullmatch(str(path.relative_to(cache))) if path.is_relative_to(cache) else None
    return found and f"{SCHEME}datasets/{found['org']}/{found['name']}@{found['commit']}/{found['file']}"


def _local(reference: str) -> Path:
    path, folder = Path(reference), os.environ.get(DATA_FOLDER)
    return Path(folder) / path if folder and not path.exists() and (Path(folder) / path).exists() else path


def _fetch(name: str, commit: str | None, file: str) -> Path:
    info = HfApi().dataset_info(name, revision=commit, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    if file not in sizes:
        have = [known for known in sizes if known.endswith((".json", ".jsonl"))]
        raise UsageError(
            f"data set {name} has no file {file}", why=f"it has {', '.join(have[:10]) or 'no JSON file'}"
        )
    require_space(Path(HF_HUB_CACHE), sizes[file])
    return Path(hf_hub_download(name, file, repo_type="dataset", revision=info.sha))
