"""The part of a model hub that takes uploads, on this machine; it may break off or refuse, and counts what it gets.

Weights are large files, stored by their SHA-256 before the commit; everything else comes with the commit. A commit's
name is made from its files alone, so that equal contents have equal commits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote

from hub_server import git_hash
from loopback import loopback

NAME = "org/name"
TOKEN = "hf_" + "s3cr3t" * 5
Json = dict[str, object]


class Refused(Exception):
    """An answer other than 200; the repository is not found if `code` says so."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.headers = status, {"X-Error-Code": code, "X-Error-Message": message}


@dataclass
class PushHub:
    """One model repository (None: there is none yet) with its pull requests.

    `breaks` is told of each large file before it is stored, and raises to break the connection off; `refusals` gives
    the answer to requests whose path holds a text; a `mute` hub commits and does not say so.
    """

    files: dict[str, bytes] | None = None
    pulls: dict[int, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)
    breaks: Callable[[str], None] = lambda digest: None
    refusals: dict[str, Refused] = field(default_factory=dict)
    mute: bool = False
    asked: list[str] = field(default_factory=list)
    visibility: str = ""
    tokens: set[str] = field(default_factory=set)
    address: str = ""

    def at(self, revision: str) -> dict[str, bytes]:
        every = {"main": self.files} | {f"refs/pr/{number}": files for number, (_, files) in self.pulls.items()}
        every |= {commit_of(files): files for files in every.values() if files is not None}
        found = every.get(revision)
        if found is None:
            raise Refused(404, "RepoNotFound" if self.files is None else "RevisionNotFound")
        return found


def commit_of(files: dict[str, bytes]) -> str:
    parts = [f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(files.items())]
    return hashlib.sha1("".join(parts).encode()).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub of a class made from this one."""

    hub: PushHub

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        path, _, query = self.path.partition("?")
        path = unquote(path)
        self.hub.asked.append(f"{self.command} {path}")
        if not path.startswith("/store/"):
            self.hub.tokens.add(self.headers.get("Authorization", ""))
        try:
            for part, refusal in self.hub.refusals.items():
                if part in path:
                    raise refusal
            found = self._found(path, parse_qs(query))
            self._send(200, json.dumps(found).encode(), {})
        except Refused as refused:
            self._send(refused.status, json.dumps({"url": f"{self.hub.address}/{NAME}"}).encode(), refused.headers)
        except ConnectionAbortedError:
            self.connection.close()

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _found(self, path: str, query: dict[str, list[str]]) -> object:
        routes = {
            r"/api/repos/create": self._create,
            r"/api/validate-yaml": lambda: {"warnings": [], "errors": []} if self._body() else {},
            rf"/api/models/{NAME}": partial(self._info, "main"),
            rf"/api/models/{NAME}/revision/(.+)": self._info,
            rf"/api/models/{NAME}/paths-info/(.+)": self._paths,
            rf"/api/models/{NAME}/discussions": self._discussions,
            rf"/api/models/{NAME}/preupload/(.+)": self._modes,
            rf"/{NAME}\.git/info/lfs/objects/batch": self._batch,
            r"/store/(.+)": self._store,
            rf"/api/models/{NAME}/commit/(.+)": partial(self._commit, pull="create_pr" in query),
        }
        for pattern, answer in routes.items():
            if match := re.fullmatch(pattern, path):
                return answer(*match.groups())
        raise Refused(404, "RepoNotFound")

    def _create(self) -> Json:
        asked = json.loads(self._body())
        if self.hub.files is not None:
            raise Refused(409)
        self.hub.files, self.hub.visibility = {".gitattributes": b"*.safetensors filter=lfs\n"}, asked["visibility"]
        return {"url": f"{self.hub.address}/{NAME}"}

    def _info(self, revision: str) -> Json:
        files = self.hub.at(revision)
        return {"id": NAME, "sha": commit_of(files), "siblings": [{"rfilename": name} for name in sorted(files)]}

    def _paths(self, revision: str) -> list[Json]:
        files, asked = self.hub.at(revision), parse_qs(self._body().decode())["paths"]
        return [tree_entry(name, files[name]) for name in asked if name in files]

    def _discussions(self) -> Json:
        pulls = [
            {"title": title, "num": number, "createdAt": "2026-01-01T00:00:00.000Z", "status": "open"}
            | {"repo": {"name": NAME, "type": "model"}, "isPullRequest": True}
            for number, (title, _) in self.hub.pulls.items()
        ]
        return {"count": len(pulls), "start": 0, "discussions": pulls}

    def _modes(self, revision: str) -> Json:
        there = self.hub.at(revision)
        return {
            "files": [
                {
                    "path": (name := file["path"]),
                    "uploadMode": "lfs" if is_large(name) else "regular",
                    "shouldIgnore": False,
                    "oid": remote_id(name, there[name]) if name in there else None,
                }
                for file in json.loads(self._body())["files"]
            ]
        }

    def _batch(self) -> Json:
        objects = [{"oid": one["oid"], "size": one["size"]} for one in json.loads(self._body())["objects"]]
        missing = [one for one in objects if one["oid"] not in self.hub.stored]
        for one in missing:
            one["actions"] = {"upload": {"href": f"{self.hub.address}/store/{one['oid']}?signature={TOKEN}"}}
        return {"objects": objects}

    def _store(self, digest: str) -> Json:
        self.hub.breaks(digest)
        data = self._body()
        assert hashlib.sha256(data).hexdigest() == digest
        self.hub.stored[digest] = data
        self.hub.received[digest] += 1
        return {}

    def _commit(self, revision: str, *, pull: bool) -> Json:
        files = dict(self.hub.at(revision))
        lines = [json.loads(line) for line in self._body().splitlines()]
        for line in lines[1:]:
            value = line["value"]
            content = base64.b64decode(value["content"]) if line["key"] == "file" else self.hub.stored[value["oid"]]
            files[value["path"]] = content
        number = len(self.hub.pulls) + 1
        if pull:
            self.hub.pulls[number] = (lines[0]["value"]["summary"], files)
        else:
            self.hub.files = files
        if self.hub.mute:
            raise ConnectionAbortedError
        address = f"{self.hub.address}/{NAME}"
        made = {"commitUrl": f"{address}/commit/{commit_of(files)}", "commitOid": commit_of(files)}
        return made | ({"pullRequestUrl": f"{address}/discussions/{number}"} if pull else {})


def remote_id(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if is_large(name) else git_hash(data)


def tree_entry(name: str, data: bytes) -> Json:
    entry: Json = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
    large = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
    return entry | large if is_large(name) else entry


@contextmanager
def taking_pushes(hub: PushHub) -> Iterator[PushHub]:
    """The hub at its address, until the end of the block."""
    with loopback(Handler, hub=hub) as hub.address:
        yield hub
