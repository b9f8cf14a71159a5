"""`hf://owner/repo[@revision]`: a repository of a model hub, through its HTTP API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote, urljoin

from modelyard import errors
from modelyard.errors import ModelyardError
from modelyard.oci.client import web
from modelyard.oci.client.web import Client, Reply
from modelyard.oci.manifest import is_digest
from modelyard.weights.cache import Cache
from modelyard.weights.lock import is_inside
from modelyard.weights.sources.base import Inventory, Keeps, Progress, SourceError, SourceFile, partial_name

ENDPOINT: Final = "https://huggingface.co"
_DEFAULT_REVISION = "main"
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Hub:
    """Repositories of the hub at HF_ENDPOINT, as whoever HF_TOKEN says."""

    def __init__(self, environ: Mapping[str, str], *, wait: web.Wait = time.sleep) -> None:
        self._endpoint = (environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        self._token = environ.get("HF_TOKEN", "").strip()
        self._wait = wait

    def look(self, uri: str, keeps: Keeps) -> Inventory:
        repository, _, revision = uri.removeprefix("hf://").partition("@")
        with closing(Client()) as client:
            commit = self._commit(client, uri, repository, revision or _DEFAULT_REVISION)
            files = [
                self._file(item, repository, commit)
                for item in self._tree(client, uri, repository, commit)
                if item.get("type") == "file" and keeps(str(item.get("path")))
            ]
        files.sort(key=lambda file: file.path)
        return Inventory(fingerprint=f"commit:{commit}", files=tuple(files))

    def fetch(self, file: SourceFile, cache: Cache, progress: Progress) -> str:
        url = str(file.origin)
        with closing(Client()) as client, cache.claim(self._partial(url)) as into:

            def ask(headers: Mapping[str, str]) -> Reply:
                reply = client.open("GET", url, {**self._said(), **headers})
                if reply.status not in (200, 206, 416):
                    with reply:
                        raise self._refusal(url, reply)
                return reply

            digest = web.download(ask, into, url=url, progress=progress, wait=self._wait)
            if file.digest is not None and digest != file.digest:
                into.unlink(missing_ok=True)
                raise SourceError(
                    f"{url}: the digest of what came is {digest}, the hub says {file.digest}", hint="import again"
                )
            cache.adopt(into, digest)
        return digest

    def _partial(self, url: str) -> str:
        """The address has the commit in it, so whichever hub gives it, it is the same."""
        return partial_name("hf", url.removeprefix(self._endpoint))

    def _commit(self, client: Client, uri: str, repository: str, revision: str) -> str:
        url = f"{self._endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        found, _ = self._json(client, url, uri)
        commit = found.get("sha") if isinstance(found, dict) else None
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            raise SourceError(f"{url} names no commit; is it a hub?", hint="HF_ENDPOINT says which hub is asked")
        return commit

    def _tree(self, client: Client, uri: str, repository: str, commit: str) -> Iterator[dict[str, Any]]:
        url: str | None = f"{self._endpoint}/api/models/{repository}/tree/{commit}?recursive=true"
        while url:
            found, link = self._json(client, url, uri)
            if not isinstance(found, list):
                raise SourceError(f"{url} gives no list of files; is it a hub?")
            yield from (item for item in found if isinstance(item, dict))
            onward = _NEXT.search(link)
            url = urljoin(url, onward[1]) if onward else None

    def _file(self, item: Mapping[str, Any], repository: str, commit: str) -> SourceFile:
        path, size, large = str(item.get("path")), item.get("size"), item.get("lfs")
        if not is_inside(path):
            raise SourceError(f"hf://{repository} has a file with the path {path!r}, which leads out of its folder")
        digest = f"sha256:{large.get('oid')}" if isinstance(large, dict) else ""
        if isinstance(large, dict):
            size = large.get("size", size)
        return SourceFile(
            path=path,
            origin=f"{self._endpoint}/{repository}/resolve/{commit}/{quote(path)}",
            size=size if isinstance(size, int) else None,
            digest=digest if is_digest(digest) else None,
        )

    def _json(self, client: Client, url: str, uri: str) -> tuple[Any, str]:
        def once() -> tuple[Any, str]:
            with client.open("GET", url, self._said()) as reply:
                if reply.status != 200:
                    raise self._refusal(uri, reply)
                try:
                    return json.loads(reply.read()), reply.headers.get("link", "")
                except ValueError:
                    raise SourceError(f"{url} answers with something other than JSON; is it a hub?") from None

        return web.again(once, url=url, wait=self._wait)

    def _refusal(self, what: str, reply: Reply) -> ModelyardError:
        said = reply.headers.get("x-error-message", "")
        if reply.status in (401, 403):
            hint = "HF_TOKEN has no right to it" if self._token else "if it is private or gated, set HF_TOKEN"
            return errors.Forbidden(f"the hub does not give {what}{': ' + said if said else ''}", hint=hint)
        if reply.status == 404:
            return errors.NotFound(f"the hub has no {what}{': ' + said if said else ''}", hint="is its name right?")
        return web.refused(what if "://" in what else reply.url, reply.status, said)

    def _said(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}
