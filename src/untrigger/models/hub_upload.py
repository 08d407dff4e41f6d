"""Uploads to the Hugging Face hub: exactly the named files, as one pull request or one commit.

A repository changes by its commit alone, which comes last, and the hub keeps large files that were sent before it. So
an upload that broke off is begun again, sends what is missing, and ends with the commit it would have ended with.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from untrigger.errors import Interrupted, UntriggerError, UsageError
from untrigger.models.hub import FAILURES, git_hash
from untrigger.observer import Observer

_OF_THE_HUB = ".gitattributes"
"""A file that the hub itself puts into every repository."""
_WHY_CHARACTERS = 300
_AGAIN = "run the same command again; what the hub has already is not sent twice"
_ANSWERS: Mapping[int, tuple[str, str]] = {
    401: ("the hub does not accept your token", "make one with write access, then run: hf auth login"),
    403: ("your token may not write to {}", "use one that may; where pull requests are switched off, give --direct"),
    404: ("{} is not found or not open to you", "check its name, and whose token this is"),
    409: ("{} was changed by something else at the same time", _AGAIN),
    412: ("{} was changed by something else at the same time", _AGAIN),
    429: ("the hub asks for fewer requests", f"wait, then {_AGAIN}"),
}
"""What a status says about a repository, and what to do."""


@dataclass(frozen=True)
class LocalFile:
    """A file to upload, under its own name."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Destination:
    """A model repository, which is made if there is none, and whether its branch `main` itself gets the commit."""

    repository: str
    title: str
    """Of the commit and of the pull request."""
    direct: bool = False
    private: bool = True
    """Of a repository that is made."""


@dataclass(frozen=True)
class Placed:
    """The commit that holds the files; `sent` is false if it was there before."""

    commit: str
    url: str
    pull_request: str | None
    sent: bool


@dataclass(frozen=True)
class Uploaded:
    """What became of an upload; `others` lie on the branch besides and were left as they are."""

    placed: Placed
    created: bool
    others: tuple[str, ...]


def hub_client() -> HfApi:
    """The hub under the token that HF_TOKEN holds or `hf auth login` has saved; nothing is asked of it yet.

    Raises:
        UsageError: there is no token, or the hub's library is set to be offline.
    """
    if constants.HF_HUB_OFFLINE:
        raise UsageError("nothing can be pushed offline", why="HF_HUB_OFFLINE is set", todo="unset it")
    token = get_token()
    if token is None:
        raise UsageError(
            "no token for the hub was found",
            why="neither in HF_TOKEN nor saved by hf auth login",
            todo="make one with write access, then run: hf auth login",
        )
    return HfApi(token=token)


def upload(client: HfApi, files: Sequence[LocalFile], to: Destination, observer: Observer) -> Uploaded:
    """Places the files, which are only read, in the repository, and looks up there whether they arrived.

    Files that are on the branch already, or in an open pull request of the same title, are not placed again.

    Raises:
        Interrupted: the observer asked to stop; the next call goes on.
        UntriggerError: no access, a conflict, a network that breaks off, or a commit that holds something else.
    """
    with _told(to.repository), _silently():
        created = _ensure(client, to)
        names = {file.path.name for file in files}
        there = [sibling.rfilename for sibling in client.model_info(to.repository).siblings or ()]
        placed = _placed_before(client, files, to) or _send(client, files, to, observer)
    others = tuple(sorted(name for name in there if name not in names and name != _OF_THE_HUB))
    return Uploaded(placed, created, others)


def _ensure(client: HfApi, to: Destination) -> bool:
    """Makes the repository if there is none; returns whether it did."""
    try:
        client.model_info(to.repository)
    except RepositoryNotFoundError:
        client.create_repo(to.repository, private=to.private, exist_ok=True)
        return True
    return False


def _placed_before(client: HfApi, files: Sequence[LocalFile], to: Destination) -> Placed | None:
    """Where the files are already; a pull request may have been opened though the answer got lost."""
    for revision, pull_request in _revisions(client, to):
        commit = str(client.model_info(to.repository, revision=revision).sha)
        if _holds(client, to.repository, commit, files):
            url = f"{client.endpoint}/{to.repository}/commit/{commit}"
            return Placed(commit, url, pull_request, sent=False)
    return None


def _revisions(client: HfApi, to: Destination) -> Iterator[tuple[str, str | None]]:
    """The branch, and each open pull request of the title with its address."""
    yield "main", None
    if not to.direct:
        opened = client.get_repo_discussions(to.repository, discussion_type="pull_request", discussion_status="open")
        yield from ((f"refs/pr/{one.num}", one.url) for one in opened if one.title == to.title)


def _holds(client: HfApi, repository: str, commit: str, files: Sequence[LocalFile]) -> bool:
    """Whether a commit has every file with the same content, by the hashes that the hub tells."""
    names = [file.path.name for file in files]
    told = client.get_paths_info(repository, names, revision=commit)
    there = {file.path: file for file in told if isinstance(file, RepoFile)}
    return all(file.path.name in there and _same(there[file.path.name], file) for file in files)


def _same(there: RepoFile, file: LocalFile) -> bool:
    if there.lfs is not None:
        return there.lfs.sha256 == file.sha256
    return there.size == file.path.stat().st_size and there.blob_id == git_hash(file.path.read_bytes())


def _send(client: HfApi, files: Sequence[LocalFile], to: Destination, observer: Observer) -> Placed:
    """The weights one by one, then everything else with the commit."""
    additions = [CommitOperationAdd(file.path.name, file.path) for file in files]
    for one in additions:
        if one.path_in_repo.endswith(".safetensors"):
            if observer.stop():
                raise Interrupted(f"stopped before {one.path_in_repo} was sent", todo=_AGAIN)
            observer.stage(f"upload {one.path_in_repo}", False)
            client.preupload_lfs_files(to.repository, [one], create_pr=not to.direct, free_memory=False)
    if observer.stop():
        raise Interrupted("stopped before the commit", todo=_AGAIN)
    observer.stage("commit", False)
    made = client.create_commit(to.repository, additions, commit_message=to.title, create_pr=not to.direct)
    if not _holds(client, to.repository, made.oid, files):
        raise UntriggerError(
            f"commit {made.oid} of {to.repository} does not hold what was sent",
            why="the hub tells of other files",
            todo="look at it there; a .gitignore in the repository may leave files out",
        )
    return Placed(made.oid, made.commit_url, made.pr_url, sent=True)


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Turn what the hub or the network answers into UntriggerError, without the token or an address with a secret."""
    try:
        yield
    except (*FAILURES, RuntimeError) as error:  # the last where a file breaks off
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            raise _refused(repository, cause) from error
        raise UntriggerError(f"the push to {repository} broke off", why=_why(cause), todo=_AGAIN) from error


def _refused(repository: str, error: HfHubHTTPError) -> UntriggerError:
    status = error.response.status_code
    what, todo = _ANSWERS.get(status, ("the push to {} failed", _AGAIN))
    said = f": {error.server_message}" if error.server_message else ""
    return UntriggerError(what.format(repository), why=f"HTTP {status}{said}"[:_WHY_CHARACTERS], todo=todo)


def _why(error: BaseException) -> str:
    """The error's text without the queries of addresses, which may hold what signs them."""
    text = re.sub(r"\?\S*", "", " ".join(str(error).split()))
    return text[:_WHY_CHARACTERS] or type(error).__name__


@contextmanager
def _silently() -> Iterator[None]:
    """Without the library's bars, warnings and log, which tells the addresses of uploads."""
    shown, verbosity = not are_progress_bars_disabled(), hub_logging.get_verbosity()
    disable_progress_bars()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(verbosity)
        if shown:
            enable_progress_bars()
