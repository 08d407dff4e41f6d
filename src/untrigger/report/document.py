"""A result file: strict JSON out, checked JSON in."""

from __future__ import annotations

import json
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from untrigger.errors import UsageError
from untrigger.report.parts import Part

SCHEMA_VERSION = 1

Model = TypeVar("Model", bound=BaseModel)
Own = TypeVar("Own", bound="Document")


class Document(Part):
    """Base of the results that are written as files."""

    schema_version: Literal[1] = 1

    def to_json(self) -> str:
        """Strict JSON in ASCII, so that hostile names cannot disguise the file's text."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, indent=2) + "\n"

    @classmethod
    def from_json(cls: type[Own], text: str | bytes, name: str = "result.json") -> Own:
        """Reads `to_json`'s text; raises as `parsed`."""
        return parsed(cls, name, text)


def parsed(kind: type[Model], where: str, text: str | bytes) -> Model:
    """A record from its JSON.

    Raises:
        UsageError: no JSON, or not a record of this kind; names the place and the first field at fault.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(
            f"{where}: {field}: {first['msg']}",
            why=f"{error.error_count()} faults; schema_version {SCHEMA_VERSION} is read",
            todo="name an untouched result, or measure that model again",
        ) from error
