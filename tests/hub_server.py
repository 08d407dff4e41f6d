"""A model hub on this machine that may cut its answers or give others; what huggingface_hub asks of it is counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import loopback

COMMIT = "c" * 40
PAGE = b"<!DOCTYPE html><html><title>Sign in to the network</title></html>"


@dataclass
class Hub:
    """One model; at most `cut` bytes of its weights are sent, `told` replaces a file, a `portal` sends only pages.

    The hub knows it under `name`. It answers questions with `status` and requests for files with `file_status`, and
    names the `error`; `moving`, it has a new commit at every question for the newest.
    """

    folder: Path
    cut: int | None = None
    portal: bool = False
    told: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)
    address: str = ""
    name: str = "org/name"
    status: int = 200
    file_status: int = 200
    error: str = ""
    moving: bool = False
    asked: list[str] = field(default_factory=list)

    def info(self) -> bytes:
        files = [self._file(path) for path in sorted(self.folder.iterdir())]
        moved = self.moving and len(self.asked) > 1
        return json.dumps({"id": self.name, "sha": "d" * 40 if moved else COMMIT, "siblings": files}).encode()

    def tree(self) -> bytes:
        files = []
        for path in sorted(self.folder.iterdir()):
            known = self._file(path)
            files.append({"type": "file", "path": path.name, "size": known["size"], "oid": known["blobId"]})
            if isinstance(lfs := known.get("lfs"), dict):
                files[-1]["lfs"] = lfs | {"oid": lfs["sha256"]}
        return json.dumps(files).encode()

    def _file(self, path: Path) -> dict[str, object]:
        data = path.read_bytes()
        known: dict[str, object] = {"rfilename": path.name, "size": len(data), "blobId": git_hash(data)}
        if path.suffix == ".safetensors":
            known["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
        return known


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub of a class made from this one."""

    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        status = self.hub.status if path.startswith("/api/") else self.hub.file_status
        if status != HTTPStatus.OK:
            self._refuse(status)
            return
        file = self.hub.folder / path.rpartition("/")[2]
        if self.hub.portal:
            self._send(PAGE, {}, body, None)
        elif path.startswith("/api/"):
            self._send(self.hub.tree() if "/tree/" in path else self.hub.info(), {}, body, None)
        elif file.is_file():
            self._send_file(file, body)
        else:
            self.send_error(404)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", self.hub.error)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True

    def _send_file(self, file: Path, body: bool) -> None:
        data, weights = file.read_bytes(), file.suffix == ".safetensors"
        etag = hashlib.sha256(data).hexdigest() if weights else git_hash(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        self._send(
            self.hub.told.get(file.name, data) if body else data, headers, body, self.hub.cut if weights else None
        )

    def _send(self, data: bytes, headers: dict[str, str], body: bool, cut: int | None) -> None:
        start = self._start() if body else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start:] if cut is None else data[start:][:cut])
        self.close_connection = True

    def _start(self) -> int:
        """Where the answer is asked to begin."""
        asked = self.headers.get("Range", "")
        if not asked:
            return 0
        self.hub.ranges.append(asked)
        return int(asked.removeprefix("bytes=").partition("-")[0])


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at its address, until the end of the block."""
    with loopback(Handler, hub=hub) as hub.address:
        yield hub
