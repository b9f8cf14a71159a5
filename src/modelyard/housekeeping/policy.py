"""What goes and why: pure functions of what there is, what is needed, and a time.

Times are microseconds since 1970. What seems to come from the future (somebody set the clock back) is young.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.amounts import Duration, Size, age_text, size_text
from modelyard.registry.repositories import Tagged
from modelyard.settings import Settings
from modelyard.upkeep import Wish

SECOND = 1_000_000
# What came so lately may be part of a push whose manifest is still on its way.
GRACE_SECONDS = 24 * 3600
# An upload that nobody wrote to for this long is given up.
ABANDONED_SECONDS = 7 * 24 * 3600
# One that never had a byte is worth nothing to anybody: a client whose mount was refused often leaves one behind.
EMPTY_SECONDS = 3600
# Weights may be imported long before their model is pushed; those that no model has after this go. So do those of which
# there has been a newer one for this long: until then somebody may still work with them.
ARTIFACT_SECONDS = 30 * 24 * 3600
# What a worker leaves in its folder besides its log is needed no more when it is dead for this long.
SCRATCH_SECONDS = 3600

# How `yard weights import` names what it pushes: by the weight and the beginning of its digest.
_WEIGHT = re.compile(r"(cog-weight\..+)\.[0-9a-f]{12}")


def superseded(tags: Iterable[Tagged], since: int) -> set[tuple[str, str]]:
    """Repository and tag of each weight of which a newer one came before `since`."""
    weights: dict[tuple[str, str], list[Tagged]] = {}
    for each in tags:
        if (named := _WEIGHT.fullmatch(each.tag)) is not None:
            weights.setdefault((each.repository, named[1]), []).append(each)
    return {
        (old.repository, old.tag)
        for same in weights.values()
        for old in same
        if any(old.at < new.at < since and new.digest != old.digest for new in same)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one cleaning, as the settings and a wish say."""

    keep_outputs: Duration
    keep_files: Duration
    keep_predictions: Duration
    keep_logs: Duration
    keep_unused: Size
    keep_backups: int
    older_than: Duration | None = None

    @classmethod
    def of(cls, found: Settings, wish: Wish) -> Policy:
        """The settings, with what the wish says in their place."""
        return cls(
            keep_outputs=wish.older_than or found.keep_outputs,
            keep_files=wish.older_than or found.keep_files,
            keep_predictions=found.keep_predictions,
            keep_logs=found.keep_logs,
            keep_unused=wish.unused or found.keep_unused,
            keep_backups=found.keep_backups,
            older_than=wish.older_than,
        )

    def why_old(self, what: str, since: int, now: int, setting: str) -> str:
        """`ended 41 days ago; keep_outputs is 30d`."""
        asked = self.older_than is not None and setting in ("keep_outputs", "keep_files")
        rule = f"asked for: older than {self.older_than}" if asked else f"{setting} is {getattr(self, setting)}"
        return f"{what} {age_text((now - since) / SECOND)} ago; {rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something on the disk. `place`: its path, or its key among the blobs; `name`: what people call it.

    `needed_as`: what stands among what is needed if somebody needs it; `used_at`: when it was put or last used.
    """

    kind: str
    name: str
    place: Path | str
    needed_as: str
    used_at: int
    bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Needed:
    """What versions need: layers, locks and sources by their keys, caches by their models' ids, each below its kind."""

    images: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)

    def of(self, kind: str) -> Set[str]:
        """What is needed of things of this kind."""
        named = {
            "environments": self.environments,
            "sources": self.sources,
            "caches": self.models,
        }
        return named.get(kind, self.images)


def unneeded(things: Iterable[Thing], needed: Needed, now: int) -> list[Thing]:
    """Those that nobody needs, and that did not come a moment ago."""
    before = now - GRACE_SECONDS * SECOND
    return [thing for thing in things if thing.needed_as not in needed.of(thing.kind) and thing.used_at < before]


def over_limit(unused: Iterable[Thing], limit: float) -> list[Thing]:
    """Those that must go so that the rest is within the limit: what was not used for longest goes first."""
    oldest_first = sorted(unused, key=lambda thing: (thing.used_at, thing.name))
    left = sum(thing.bytes for thing in oldest_first)
    going = []
    for thing in oldest_first:
        # Nothing at all may stay: then what has no bytes goes as well.
        if left <= limit and not (limit <= 0):
            break
        going.append(thing)
        left -= thing.bytes
    return going


def older(things: Iterable[Thing], before: int) -> list[Thing]:
    """Those that were last used before this moment."""
    return [thing for thing in things if thing.used_at < before]


def beyond_newest(things: Iterable[Thing], count: int) -> list[Thing]:
    """All but the newest `count`."""
    return sorted(things, key=lambda thing: (thing.used_at, thing.name), reverse=True)[count:]


def why_unused(used_at: int, now: int, limit: Size) -> str:
    """Why something goes that nothing refers to."""
    allowed = limit.text if math.isinf(limit.bytes) else size_text(limit.bytes)
    age = age_text((now - used_at) / SECOND)
    return f"nothing refers to it, not used for {age}; {allowed} of such may stay"
