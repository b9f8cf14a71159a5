"""What a NAME that a command is given means: a model of a yard, or an image, and where that is."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from modelyard.cli import program
from modelyard.errors import UsageError

# Begins the name of an image that could be taken for a model's; and of a folder with an OCI layout.
DOCKER = "docker:"
LAYOUT = "oci:"
_ARCHIVE = ".tar"
_MODEL = re.compile(r"[^/]+/[^/@]+")

Kind = Literal["model", "image", "layout", "archive"]


class Name(NamedTuple):
    """`text`: without what begins it; an image's may be pulled where it has a slash: what has none is here or nowhere,
    as Docker's own library, which such a name would mean elsewhere, has no models."""

    kind: Kind
    text: str

    @property
    def is_pulled(self) -> bool:
        """May it be in a registry?"""
        return self.kind == "image" and "/" in self.text


def read(name: str, command: str) -> Name:
    """What NAME means after `yard run`, or after another `command`, for which no name means a yard's model; called
    `cog`, none does for any. Raises UsageError."""
    if name.startswith(LAYOUT):
        return Name("layout", name.removeprefix(LAYOUT))
    if name.endswith(_ARCHIVE):
        return Name("archive", name)
    if "=" in name:
        # The sentence is Cog's, for which scripts look.
        raise UsageError(f"Invalid image name {name!r}. Did you forget `-i`?", hint=f"yard {command} -i {name}")
    if name.startswith(DOCKER):
        return Name("image", name.removeprefix(DOCKER))
    may_be_model = command == "run" and program.name() != "cog"
    if may_be_model and _MODEL.fullmatch(name) and not _has_host(name):
        return Name("model", name)
    return Name("image", name)


def host_of(name: str) -> str | None:
    """The registry's host that an image's name begins with."""
    return name.partition("/")[0] if _has_host(name) else None


def _has_host(name: str) -> bool:
    """As Docker tells a host from an owner."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")
