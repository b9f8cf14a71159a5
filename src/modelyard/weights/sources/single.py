"""`https://`: one file of the web."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from modelyard.oci.client import web
from modelyard.oci.client.web import Client, Reply
from modelyard.weights.cache import Cache
from modelyard.weights.sources.base import Inventory, Keeps, Progress, SourceError, SourceFile, partial_name


class Single:
    """Addresses of files. Where a server names no version of its content, that has to be brought to know it."""

    def __init__(self, cache: Cache, *, wait: web.Wait = time.sleep) -> None:
        self._cache = cache
        self._wait = wait

    def look(self, uri: str, keeps: Keeps) -> Inventory:
        name = unquote(PurePosixPath(urlsplit(uri).path).name)
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise SourceError(
                f"{uri} does not end in the name of a file", hint="one like https://host/folder/model.bin"
            )
        headers = self._headers(uri)
        length, tag = headers.get("content-length", ""), headers.get("etag")
        file = SourceFile(
            path=name,
            origin=uri,
            size=int(length) if length.isdecimal() else None,
            validator=tag or headers.get("last-modified"),
        )
        if not keeps(name):
            return Inventory(fingerprint=f"etag:{tag}" if tag else "", files=())
        if tag:
            return Inventory(fingerprint=f"etag:{tag}", files=(file,))
        digest = self.fetch(file, self._cache, lambda _: None)
        size = self._cache.path(digest).stat().st_size
        known = SourceFile(path=name, origin=uri, size=size, digest=digest)
        return Inventory(fingerprint=digest, files=(known,))

    def fetch(self, file: SourceFile, cache: Cache, progress: Progress) -> str:
        url = str(file.origin)
        with closing(Client()) as client, cache.claim(partial_name(url, file.validator or "")) as into:
            if file.validator is None:
                # Nothing says whether what is there belongs to what would come.
                into.write_bytes(b"")

            def ask(headers: Mapping[str, str]) -> Reply:
                return checked(client.open("GET", url, headers), file, url)

            strong = file.validator if file.validator and not file.validator.startswith("W/") else None
            digest = web.download(ask, into, url=url, validator=strong, progress=progress, wait=self._wait)
            if file.digest is not None and digest != file.digest:
                into.unlink(missing_ok=True)
                raise SourceError(f"{url} changed while it was brought", hint="import again")
            cache.adopt(into, digest)
        return digest

    def _headers(self, uri: str) -> dict[str, str]:
        def once() -> dict[str, str]:
            with closing(Client()) as client:
                for method in ("HEAD", "GET"):  # some servers answer nothing but GET
                    with client.open(method, uri) as reply:
                        if reply.status == 200:
                            return reply.headers
                        if method == "GET" or reply.status not in (400, 403, 404, 405, 501):
                            raise web.refused(uri, reply.status, retry_after=reply.headers.get("retry-after", ""))
            raise AssertionError("the last of the two returns or raises")

        return web.again(once, url=uri, wait=self._wait)


def checked(reply: Reply, file: SourceFile, url: str) -> Reply:
    """A reply with the file in it. Raises the error for any other."""
    if reply.status not in (200, 206, 416):
        with reply:
            raise web.refused(url, reply.status, retry_after=reply.headers.get("retry-after", ""))
    tag = reply.headers.get("etag")
    if file.validator and file.digest is None and tag and '"' in file.validator and tag != file.validator:
        with reply:
            raise SourceError(f"{url} changed while it was brought", hint="import again")
    return reply
