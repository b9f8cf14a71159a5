"""Which repository and tag a model has: cog.yaml's `model`, and the variables that stand above it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelyard.errors import UsageError
from modelyard.oci import names

DEFAULT_REGISTRY: Final = "index.docker.io"
WHOLE: Final = "COG_MODEL"
PARTS: Final = ("COG_MODEL_REGISTRY", "COG_MODEL_REPO", "COG_MODEL_TAG")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_RESERVED = "cog-"
_MODEL: Final = "`model` of cog.yaml"
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


def is_given(environ: Mapping[str, str]) -> bool:
    """Does any of the variables say something?"""
    return any(environ.get(name) for name in (WHOLE, *PARTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The yard that one is logged in to: `host`, and the hosts that mean it too, as a push takes them."""

    host: str
    also: frozenset[str] = frozenset()


def resolve(model: str | None, environ: Mapping[str, str], home: Home | None = None) -> Reference:
    """What `model` of cog.yaml and the variables mean together; a `model` without a host is at `home`, if there is one.

    Raises UsageError.
    """
    if environ.get(WHOLE):
        return parse(environ[WHOLE], WHOLE)
    registry, repository, tag = (environ.get(name) for name in PARTS)
    if model is None and not repository:
        raise UsageError("cog.yaml says no `model`", hint="add `model: HOST/owner/name`, or set COG_MODEL")
    base = _at_home(parse(model, _MODEL), model, home) if model is not None else None
    if registry and not _HOST.fullmatch(registry):
        raise UsageError(f"{PARTS[0]} is {registry!r}; wanted: HOST or HOST:PORT, such as registry.example.org")
    if tag:
        _check_tag(tag, PARTS[2])
    if repository:
        _check_repository(repository, PARTS[1])
    return Reference(
        registry=registry or (base.registry if base else DEFAULT_REGISTRY),
        repository=repository or (base.repository if base else ""),
        tag=tag or (base.tag if base else None),
        implied=not registry and (base is None or base.implied),
    )


def _at_home(named: Reference, text: str, home: Home | None) -> Reference:
    if home is None or not (named.implied or named.registry in home.also):
        return named
    if named.repository.count("/") != 1:
        raise UsageError(
            f"{_MODEL} is {text!r}, which means the yard {home.host} that you are logged in to; wanted: OWNER/NAME",
            hint=f"with its host it is in another registry: {DEFAULT_REGISTRY}/{named.repository}",
        )
    return replace(named, registry=home.host, implied=False)


def parse(text: str, what: str) -> Reference:
    """`[HOST[:PORT]/]NAME[/NAME…][:TAG]`. `what` is called so in errors. Raises UsageError."""
    if "@" in text:
        raise UsageError(f"{what} is {text!r}; wanted: a repository, with or without a tag, and no digest")
    if "://" in text:
        raise UsageError(f"{what} is {text!r}; wanted: HOST/owner/name, without {text.partition('://')[0]}://")
    first, slash, rest = text.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    path = rest if has_host else text
    repository, colon, tag = path.partition(":")
    if has_host and not _HOST.fullmatch(first):
        raise UsageError(f"{what} is {text!r}; wanted: HOST or HOST:PORT before the first slash")
    _check_repository(repository, what)
    if colon:
        _check_tag(tag, what)
    registry = DEFAULT_REGISTRY if not has_host or first in _ALSO_DEFAULT else first
    return Reference(registry=registry, repository=repository, tag=tag or None, implied=not has_host)


def is_local(registry: str) -> bool:
    """Is it on this machine, where plain HTTP is spoken?"""
    host = registry.rpartition("]")[0].lstrip("[") if registry.startswith("[") else registry.partition(":")[0]
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def _check_repository(text: str, what: str) -> None:
    if not text or not all(names.is_part(part) for part in text.split("/")):
        raise UsageError(
            f"{what} is {text!r}; wanted: names of small letters and digits with slashes between them",
            hint="such as registry.example.org/owner/name",
        )


def _check_tag(tag: str, what: str) -> None:
    if not _TAG.fullmatch(tag):
        raise UsageError(f"{what}: the tag is {tag!r}; wanted: 1 to 128 of letters, digits, `_`, `.` and `-`")
    if tag.startswith(_RESERVED):
        raise UsageError(
            f"{what}: the tag is {tag!r}; tags that begin with `{_RESERVED}` are reserved for what belongs to models"
        )
