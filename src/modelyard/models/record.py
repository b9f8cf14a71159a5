"""The records of models and versions. A model is `owner/name`; a version is immutable and named by its sha256."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from modelyard.accounts import Account
from modelyard.db.base import Tx
from modelyard.models.interface import Interface
from modelyard.oci import names
from modelyard.timeouts import Timeouts

Visibility = Literal["public", "private"]
Sort = Literal["model_created_at", "latest_version_created_at"]
Direction = Literal["asc", "desc"]
Schema = Mapping[str, Any]

NAME_LENGTH = 128
# What describes a model in words and may be changed at any time.
TEXTS = ("description", "readme", "github_url", "paper_url", "license_url", "weights_url", "cover_image_url")
_VERSION_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A row of `models`. Times in microseconds."""

    id: str
    owner: str
    name: str
    visibility: Visibility
    description: str | None = None
    readme: str | None = None
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    weights_url: str | None = None
    cover_image_url: str | None = None
    hardware: str = "cpu"
    run_count: int = 0
    last_run_at: int | None = None
    latest_version_id: str | None = None
    latest_version_at: int | None = None
    default_example_id: str | None = None
    created_at: int
    updated_at: int

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"

    def visible_to(self, account: Account | None) -> bool:
        """May this account see it, and run it? None: somebody who has not said who they are."""
        return self.visibility == "public" or (account is not None and self.owner == account.username)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A row of `versions`. `schema`: the OpenAPI document of its container; `config`: its `cog.yaml` as JSON;
    `interface`: what the schema says, read; `timeouts`: what the config says of its times, read."""

    model_id: str
    id: str
    created_at: int
    cog_version: str
    schema: Schema
    config: Mapping[str, Any]
    concurrency: int = 1
    interface: Interface = field(default_factory=Interface)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that its `cog.yaml` sets."""
        return environment_of(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version that is yet to be written: `write` in a transaction, `done` after it."""

    write: Callable[[Tx], None]
    done: Callable[[], Awaitable[None]]


class Images(Protocol):
    """Where the images of versions are; the repository of a model is its full name. Both write `also` in the same
    transaction, and raise what it raises."""

    async def remove(
        self,
        repository: str,
        digest: str,
        versions: Callable[[], Awaitable[Collection[str]]],
        also: Callable[[Tx], None],
    ) -> None:
        """Take a version's image away, but nothing that one of `versions`, by their digests, needs."""

    async def clear(self, repository: str, also: Callable[[Tx], None]) -> None:
        """Take all of them away."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a prediction runs: a version of a model."""

    model: Model
    version: Version


def is_name(text: str) -> bool:
    """Could `text` be the owner or the name of a model? (It must also do as a part of an image's repository.)"""
    return len(text) <= NAME_LENGTH and names.is_part(text)


def is_version_id(text: str) -> bool:
    """Could `text` be the id of a version: 64 hexadecimal digits?"""
    return _VERSION_ID.fullmatch(text) is not None


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The variables in a `cog.yaml` as JSON, whoever wrote it."""
    lines = config.get("environment")
    pairs = (str(line).partition("=") for line in (lines if isinstance(lines, list) else ()))
    return {name: value for name, _, value in pairs}


def sort_key(model: Model, sort: Sort) -> int:
    """What `list` sorts by, for the cursor of the next page."""
    return model.created_at if sort == "model_created_at" else (model.latest_version_at or model.created_at)
