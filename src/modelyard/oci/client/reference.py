"""Where an image is, or may be put: its registry, the repository there, and its tag."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelyard.errors import UsageError
from modelyard.oci import names

DEFAULT_REGISTRY: Final = "index.docker.io"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_RESERVED = "cog-"
# Other names of Docker's registry.
_ALSO_DEFAULT = ("docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`registry`: HOST or HOST:PORT. `tag` is None where nobody named one; `implied`: nobody named the host either."""

    registry: str
    repository: str
    tag: str | None = None
    implied: bool = False

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    @property
    def path(self) -> str:
        """The repository as the registry itself names it."""
        official = self.registry == DEFAULT_REGISTRY and "/" not in self.repository
        return f"library/{self.repository}" if official else self.repository

    def tagged(self, now: datetime) -> str:
        """`registry/repository:tag`."""
        return f"{self.name}:{self.tag_at(now)}"

    def tag_at(self, now: datetime) -> str:
        """The tag; by default the moment `now`, which is in UTC."""
        return self.tag or now.strftime("%Y%m%dT%H%M%SZ")


def parse(text: str, what: str) -> Reference:
    """`[HOST[:PORT]/]NAME[/NAME…][:TAG]`. `what` is called so in errors. Raises UsageError."""
    if "@" in text:
        raise UsageError(f"{what} is {text!r}; wanted: a repository, with or without a tag, and no digest")
    if "://" in text:
        scheme, _, rest = text.partition("://")
        raise UsageError(f"{what} is {text!r}; wanted: HOST/owner/name, without {scheme}://", hint=f"such as {rest}")
    first, slash, rest = text.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    path = rest if has_host else text
    repository, colon, tag = path.partition(":")
    if has_host and not _HOST.fullmatch(first):
        raise UsageError(f"{what} is {text!r}; wanted: HOST or HOST:PORT before the first slash")
    check_repository(repository, what)
    if colon:
        check_tag(tag, what)
    registry = DEFAULT_REGISTRY if not has_host or first in _ALSO_DEFAULT else first
    return Reference(registry=registry, repository=repository, tag=tag or None, implied=not has_host)


def is_host(text: str) -> bool:
    """May this be HOST or HOST:PORT?"""
    return _HOST.fullmatch(text) is not None


def is_local(registry: str) -> bool:
    """Is it on this machine, where plain HTTP is spoken?"""
    host = registry.rpartition("]")[0].lstrip("[") if registry.startswith("[") else registry.partition(":")[0]
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def check_repository(text: str, what: str) -> None:
    """Raises UsageError for what is no name of a repository."""
    if not text or not all(names.is_part(part) for part in text.split("/")):
        raise UsageError(
            f"{what} is {text!r}; wanted: names of small letters and digits with slashes between them",
            hint="such as registry.example.org/owner/name",
        )


def check_tag(tag: str, what: str) -> None:
    """Raises UsageError for what is no tag, or a reserved one."""
    if not _TAG.fullmatch(tag):
        raise UsageError(f"{what}: the tag is {tag!r}; wanted: 1 to 128 of letters, digits, `_`, `.` and `-`")
    if tag.startswith(_RESERVED):
        raise UsageError(
            f"{what}: the tag is {tag!r}; tags that begin with `{_RESERVED}` are reserved for what belongs to models",
            hint="such as v1",
        )
