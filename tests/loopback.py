"""A server of a test's own on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 0.01
"""Between two looks whether the server is to end."""


@contextmanager
def loopback(handler: type[BaseHTTPRequestHandler], **fields: object) -> Iterator[str]:
    """The server's address until the end of the block; the handlers have the fields."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (handler,), fields)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(SECONDS,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
