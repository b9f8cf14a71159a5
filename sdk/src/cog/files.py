"""Files that leave a model by its own hand, by the names that models of Cog up to 0.16 use.

A model that returns a `Path` needs none of this: its files are sent to whoever asked.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import pathlib
import urllib.parse
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 60


def upload_file(fh: Any, output_file_prefix: str | None = None) -> str:
    """The address of an open file's bytes: a `data:` URL, or with a prefix where they were PUT.

    Raises OSError where they cannot be sent.
    """
    if output_file_prefix is not None:
        return put_file_to_signed_endpoint(fh, output_file_prefix)
    data = _bytes(fh)
    return f"data:{_media_type(guess_filename(fh))};base64,{base64.b64encode(data).decode()}"


def put_file_to_signed_endpoint(fh: Any, endpoint: str, _: Any = None) -> str:
    """PUT a file below `endpoint`, under its own name; gives the address without its query. Raises OSError."""
    if urllib.parse.urlsplit(endpoint).scheme not in ("http", "https"):
        raise ValueError(f"{endpoint!r} is no http or https address that a file could be sent to")
    name = guess_filename(fh)
    url = urllib.parse.urljoin(ensure_trailing_slash(endpoint), urllib.parse.quote(name))
    headers = {"Content-Type": _media_type(name)}
    request = urllib.request.Request(url, data=_bytes(fh), method="PUT", headers=headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310
        final: str = reply.geturl()
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(final)._replace(query=""))


def guess_filename(obj: Any) -> str:
    """The last part of an open file's name; `file` where it has none."""
    name = getattr(obj, "name", None)
    return pathlib.PurePath(os.fsdecode(name)).name or "file" if isinstance(name, (str, bytes)) else "file"


def ensure_trailing_slash(url: str) -> str:
    """An address of a folder."""
    return url if url.endswith("/") else url + "/"


def _bytes(fh: Any) -> bytes:
    if hasattr(fh, "seekable") and fh.seekable():
        fh.seek(0)
    found = fh.read()
    return found.encode() if isinstance(found, str) else bytes(found)


def _media_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
