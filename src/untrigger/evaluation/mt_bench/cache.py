"""Replies of judges on the disk, by the hash of what was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from untrigger.evaluation.mt_bench.journal import Line
from untrigger.files import disk_errors, write_text_atomic


class Reply(Line):
    """A judge's answer: its text, the model the server names, why it ended, and when (seconds since 1970)."""

    text: str
    model: str | None
    finish_reason: str | None
    tstamp: float


@dataclass(frozen=True)
class ReplyCache:
    """A folder with a file a reply; without a folder nothing is kept."""

    folder: Path | None

    def get(self, request: str) -> Reply | None:
        """The kept reply to a request of this hash; a broken file counts as none."""
        if self.folder is None:
            return None
        try:
            return Reply.model_validate(json.loads(self._file(self.folder, request).read_bytes()))
        except (OSError, ValidationError, ValueError, RecursionError):
            return None

    def put(self, request: str, reply: Reply) -> None:
        """Keeps a reply; an empty one is not kept, since it may be a fault that passes.

        Raises:
            UntriggerError: the disk is full or the folder not writable.
        """
        if self.folder is None or not reply.text.strip():
            return
        file = self._file(self.folder, request)
        with disk_errors(self.folder):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, json.dumps(reply.model_dump(), ensure_ascii=True) + "\n")

    @staticmethod
    def _file(folder: Path, request: str) -> Path:
        return folder / request[:2] / f"{request}.json"
