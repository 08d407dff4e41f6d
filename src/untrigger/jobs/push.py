"""`untrigger push`: a finished output into a repository on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from untrigger import __version__
from untrigger.checksums import COMPLETE, SIGNATURE, SUMS, listed
from untrigger.errors import InputRefused, UsageError
from untrigger.files import sha256
from untrigger.jobs.verify import verify
from untrigger.models.hub import is_hub_reference
from untrigger.models.hub_upload import Destination, LocalFile, hub_client, upload
from untrigger.observer import Observer, Silent
from untrigger.report.provenance import PushResult


@dataclass(frozen=True)
class PushRequest:
    """One upload.

    `folder` is an output of `purify`, `repository` a model repository (`org/name`). `direct` commits to its branch
    `main` instead of opening a pull request; `public` is for a repository that does not exist yet.
    """

    folder: Path
    repository: str
    direct: bool = False
    public: bool = False
    title: str | None = None
    """Of the commit and of the pull request (default: `Purified with untrigger` and the version)."""

    def destination(self) -> Destination:
        """Where the files go.

        Raises:
            UsageError: no id of a repository, or an empty title.
        """
        if "@" in self.repository or not is_hub_reference(self.repository):
            raise UsageError(f"{self.repository} is no repository on the hub", todo="write org/name")
        title = f"Purified with untrigger {__version__}" if self.title is None else self.title.strip()
        if not title:
            raise UsageError("a commit needs a title", todo="leave --title out, or give some words")
        return Destination(self.repository.removeprefix("hf://"), title, self.direct, not self.public)


def push(request: PushRequest, observer: Observer | None = None) -> PushResult:
    """Checks an output against its checksums and puts its files, and no others, into a repository.

    The folder is only read. After an interruption the same call goes on; once done, it does nothing.

    Raises:
        UsageError: no token, a wrong id, or a folder that `purify` did not write.
        InputRefused: the folder is not as it was written.
        Interrupted: the observer asked to stop.
        UntriggerError: the hub refuses, or the network breaks off.
    """
    observer, to = observer or Silent(), request.destination()
    client = hub_client()
    observer.stage("verify", False)
    _require_purified(request.folder)
    done = upload(client, tuple(_files(request.folder)), to, observer)
    return PushResult(
        folder=str(request.folder),
        repository=to.repository,
        created=done.created,
        sent=done.placed.sent,
        commit=done.placed.commit,
        commit_url=done.placed.url,
        pull_request=done.placed.pull_request,
        others=done.others,
    )


def _require_purified(folder: Path) -> None:
    found = verify(folder)
    if not found.well:
        changed = ", ".join(f"{change.name} {change.kind}" for change in found.changes)
        raise InputRefused(f"{folder} is not as it was written: {changed}", todo="push an untouched output")
    if found.job != "purify":
        why = "a model with a planted backdoor is not for publication" if found.job == "attack" else ""
        raise UsageError(f"{folder} is no output of purify", why=why, todo="purify it first")


def _files(folder: Path) -> Iterator[LocalFile]:
    """What the list of checksums names, the list itself, its mark, and a signature."""
    yield from (LocalFile(folder / name, digest) for name, digest in listed(folder).items())
    own = (folder / name for name in (SUMS, COMPLETE, SIGNATURE))
    yield from (LocalFile(path, sha256(path)) for path in own if path.is_file())
