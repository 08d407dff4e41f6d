"""Where a judge is, and the key to it: addresses and keys that would give something away are refused."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from httpx2 import URL, InvalidURL

from untrigger.errors import UsageError

_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Endpoint:
    """A server's address without a slash at its end, its host (with the port, if one is given), and where it lies."""

    base_url: str
    host: str
    loopback: bool


def endpoint(url: str, allow_remote_http: bool = False) -> Endpoint:
    """The endpoint at an address such as `https://api.example.org/v1`.

    Raises:
        UsageError: no http(s) address; user, password, query or fragment in it (they may be secrets, and addresses
            are stored); http to another machine, unless allowed.
    """
    try:
        parsed = URL(url.strip())
    except InvalidURL as error:
        raise UsageError("--judge-url is no address", todo="write https://HOST/v1") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError("--judge-url is no http or https address", todo="write https://HOST/v1")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise UsageError(
            "--judge-url holds a user, a query or a fragment",
            why="it is stored with the results, and these may be secrets",
            todo="leave them out; a key goes through --judge-key-variable",
        )
    path = parsed.path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise UsageError(f"--judge-url ends in {path}", todo="leave /chat/completions out: it is added")
    found = Endpoint(str(parsed.copy_with(path=path or "/")).rstrip("/"), _host(parsed), _is_loopback(parsed.host))
    if parsed.scheme == "http" and not found.loopback and not allow_remote_http:
        raise UsageError(
            f"--judge-url is plain http to {found.host}",
            why="questions, answers and the key would travel unencrypted",
            todo="use https, or pass --allow-remote-http",
        )
    return found


def judge_key(variable: str | None, environment: Mapping[str, str]) -> str | None:
    """The key in the environment variable of this name, None if no name is given.

    Raises:
        UsageError: the variable is not set, or holds what no key is; the value is never shown.
    """
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"environment variable {variable} is not set", todo="set it to the judge's key, or drop the option"
        )
    if _KEY.fullmatch(key) is None:
        raise UsageError(f"environment variable {variable} holds white space or other signs that no key has")
    return key


def _host(url: URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port is None else f"{host}:{url.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
