"""Clean records from the Hugging Face hub: one JSON or JSON lines file of a data set, at a pinned commit."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE

from untrigger.errors import UntriggerError, UsageError
from untrigger.files import require_space
from untrigger.models.hub import FAILURES, PINNED_ID

SCHEME = "hf://"
FORM = "hf://datasets/org/name[@commit]/file.json"
_REFERENCE = re.compile(rf"hf://datasets/{PINNED_ID}" r"/(?P<file>(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.jsonl?)", re.ASCII)


def data_file(reference: str) -> Path:
    """The local file that a user's reference to data names; one on the hub is fetched into the hub's own cache.

    Raises:
        UsageError: a hub reference of another form.
        UntriggerError: not found, no access, offline or no space.
    """
    if not reference.startswith(SCHEME):
        return Path(reference)
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
