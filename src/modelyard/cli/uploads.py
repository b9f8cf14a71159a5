"""Files of an input, sent to a yard: piece by piece, with a bar where somebody watches and waits."""

from __future__ import annotations

import http.client
import json
import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.cli import client, inputs, media_types, progress
from modelyard.cli.client import Login
from modelyard.cli.inputs import Given
from modelyard.cli.talk import Talk

_PIECE = 256 * 1024
_TIMEOUT_SECONDS = 120.0


def in_place(login: Login, given: Given, talk: Talk) -> dict[str, Any]:
    """The input with the addresses of its files at the yard where their places on this machine stood."""
    if not given.files:
        return given.values
    total = sum(Path(path).stat().st_size for path in given.files.values())
    watched = talk if total >= progress.WATCHED_BYTES else None
    with progress.bar("Sending", total, watched) as sending:
        places = {path: _send(login, Path(path), sending.advance) for path in given.files.values()}
    return inputs.placed(given, places.__getitem__)


def _send(login: Login, path: Path, sent: Callable[[int], None]) -> str:
    """Upload one file; gives its address. Raises Unavailable, RefusedError."""
    mark = uuid.uuid4().hex
    kind = media_types.of_name(path.name) or "application/octet-stream"
    # As browsers write it (RFC 7578, 4.2; WHATWG HTML, 4.10.21.8).
    name = path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{mark}\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n'.encode()
    head += f"Content-Type: {kind}\r\n\r\n".encode()
    tail = f"\r\n--{mark}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
                sent(len(piece))
        yield tail

    connection, prefix = _connection_to(login.url)
    headers = {
        "Authorization": f"Bearer {login.required_token}",
        "Content-Type": f"multipart/form-data; boundary={mark}",
        "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
    }
    try:
        connection.request("POST", f"{prefix}/v1/files", body(), headers)
        reply = connection.getresponse()
        payload = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise client.unreachable(login.url, error) from None
    finally:
        connection.close()
    if reply.status >= 400:
        raise client.refusal(login, reply.status, payload)
    return str(json.loads(payload)["urls"]["get"])


def _connection_to(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not yet opened, to the host of `url`, and what paths there begin with."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        secure = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_SECONDS, context=secure), parts.path
    return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_SECONDS), parts.path
