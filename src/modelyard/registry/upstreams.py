"""The registries that bases come from, as a yard asks them: who it is there, which addresses it may ask, how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.errors import Unavailable, UsageError
from modelyard.oci.client import credentials, reference, remote
from modelyard.oci.client.reference import Reference
from modelyard.oci.client.remote import Repository
from modelyard.oci.client.web import Client

# A push waits for this, a pull for that.
_LOOK_SECONDS = 5.0
_FETCH_SECONDS = 20.0
_FETCH_ATTEMPTS = 3
# One that did not answer is not asked again for so long.
_SILENT_SECONDS = 60.0


class Upstreams:
    """Other registries. `own`: the base that the yard itself is set to. There alone it says who it is, and may be sent
    to any address; elsewhere, to those that `may_connect` lets. `find`: who the yard is."""

    def __init__(
        self,
        own: str | None = None,
        find: credentials.Find = credentials.nobody,
        may_connect: Callable[[str], bool] | None = None,
    ) -> None:
        self._own = None if own is None else self.parse(own)
        self._find = find
        self._may_connect = may_connect
        self._silent: dict[str, float] = {}
        self._guard = threading.Lock()

    def parse(self, text: str) -> str | None:
        """`HOST/path` of what names a repository with its host, tag and digest left out; None for anything else."""
        try:
            found = reference.parse(text.partition("@")[0], "the base image")
        except UsageError:
            return None
        return None if found.implied else f"{found.registry}/{found.path}"

    def client(self, origin: str, *, to_look: bool) -> Client:
        """What asks there: to look, which a push waits for, or to fetch, which a pull waits for."""
        host = host_of(origin)
        guard = None if self._own is not None and host_of(self._own) == host else self._may_connect
        return Client(timeout_seconds=_LOOK_SECONDS if to_look else _FETCH_SECONDS, may_connect=guard)

    def size(self, origin: str, digest: str, client: Client) -> int | None:
        """The size of a blob there; None where there is none. Raises what keeps one from asking."""
        host = host_of(origin)
        with self._guard:
            if time.monotonic() < self._silent.get(host, 0.0):
                raise Unavailable(f"{host} did not answer a moment ago")
        try:
            with self._open(origin, client, 1) as there:
                return there.size(digest)
        except Unavailable:
            self.is_silent(origin)
            raise

    def is_silent(self, origin: str) -> None:
        """Ask nothing of its host for a while."""
        with self._guard:
            now = time.monotonic()
            silent = {name: until for name, until in self._silent.items() if until > now}
            self._silent = {**silent, host_of(origin): now + _SILENT_SECONDS}

    def fetch(self, origin: str, digest: str, into: Path, progress: Callable[[int], None], client: Client) -> None:
        """Bring a blob. Raises what a registry says, WrongDigestError."""
        with self._open(origin, client, _FETCH_ATTEMPTS) as there:
            there.fetch(digest, into, progress)

    def _open(self, origin: str, client: Client, attempts: int) -> Repository:
        host, _, path = origin.partition("/")
        return remote.open_repository(
            Reference(registry=host, repository=path),
            self._find if origin == self._own else credentials.nobody,
            client=client,
            attempts=attempts,
        )


def host_of(origin: str) -> str:
    """The registry of a repository that is named with it."""
    return origin.partition("/")[0]
