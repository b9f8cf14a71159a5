"""What an import would do: each weight of cog.yaml beside its sources as they are now and beside the lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelyard.errors import UsageError
from modelyard.packaging.config_source.records import Weight
from modelyard.weights import filters, lock, uris
from modelyard.weights.lock import Lock, LockedSource, LockedWeight
from modelyard.weights.sources.base import Inventory, Source, SourceError, SourceFile

NEW: Final = "new"
UNCHANGED: Final = "unchanged"
CONFIG: Final = "config-changed"
UPSTREAM: Final = "upstream-changed"
SIGNS: Final = {NEW: "+", UNCHANGED: "=", CONFIG: "~", UPSTREAM: "~"}

Kinds = Mapping[str, Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A file, and the source that it is taken from."""

    file: SourceFile
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One weight. `reasons`: why it is not as it was; `locked`: what the lock says of it."""

    weight: Weight
    status: str
    reasons: tuple[str, ...]
    sources: tuple[LockedSource, ...]
    files: tuple[Taken, ...]
    locked: LockedWeight | None

    @property
    def size(self) -> int:
        """Bytes, as far as the sources say."""
        return sum(taken.file.size or 0 for taken in self.files)

    @property
    def uris(self) -> str:
        """Where it comes from, in a line."""
        return ", ".join(source.uri for source in self.sources)


def choose(weights: Sequence[Weight], names: Sequence[str]) -> list[Weight]:
    """The weights of these names, all where there are none. Raises UsageError."""
    if not weights:
        raise UsageError("no weights defined in cog.yaml", hint="docs/guides/weights.md shows how")
    known = [weight.name for weight in weights]
    for name in names:
        if name not in known:
            raise UsageError(f'weight "{name}" not found in cog.yaml', hint=f"cog.yaml has: {', '.join(known)}")
    return [weight for weight in weights if not names or weight.name in names]


def plan(weights: Iterable[Weight], locked: Lock | None, kinds: Kinds) -> list[Planned]:
    """What would be done for each. Raises SourceError, and what the network raises."""
    return [_plan(weight, locked.get(weight.name) if locked else None, kinds) for weight in weights]


def _plan(weight: Weight, locked: LockedWeight | None, kinds: Kinds) -> Planned:
    sources: list[LockedSource] = []
    files: dict[str, Taken] = {}
    for source in weight.sources:
        uri = uris.normalised(source.uri)
        kind = uris.scheme_of(uri)
        found = kinds[kind].look(uri, filters.keeper(source.include, source.exclude))
        _take(files, found, kind, weight, uri)
        sources.append(
            LockedSource(uri=uri, fingerprint=found.fingerprint, include=source.include, exclude=source.exclude)
        )
    _check_folders(files, weight)
    status, reasons = _status(weight, locked, sources)
    return Planned(
        weight=weight,
        status=status,
        reasons=tuple(reasons),
        sources=tuple(sources),
        files=tuple(files[path] for path in sorted(files)),
        locked=locked,
    )


def _take(files: dict[str, Taken], found: Inventory, kind: str, weight: Weight, uri: str) -> None:
    if not found.files:
        raise SourceError(
            f'weight "{weight.name}": no files are left of {uri}', hint="loosen its `include` and `exclude` in cog.yaml"
        )
    for file in found.files:
        if file.path in files:
            raise SourceError(
                f'weight "{weight.name}": two of its sources have a file {file.path}',
                hint="exclude it from one of them",
            )
        files[file.path] = Taken(file=file, kind=kind)


def _check_folders(files: Mapping[str, Taken], weight: Weight) -> None:
    """A name that is a file in one source may not be a folder in another."""
    for path in files:
        for at, sign in enumerate(path):
            if sign == "/" and path[:at] in files:
                raise SourceError(
                    f'weight "{weight.name}": {path[:at]} is a file in one source and a folder in another'
                )


def _status(weight: Weight, locked: LockedWeight | None, sources: Sequence[LockedSource]) -> tuple[str, Sequence[str]]:
    if locked is None:
        return NEW, ()
    if changes := lock.config_changes(weight, locked):
        return CONFIG, changes
    then = {source.uri: source.fingerprint for source in locked.sources}
    moved = [
        f"{source.uri}: {_short(then.get(source.uri, ''))} → {_short(source.fingerprint)}"
        for source in sources
        if then.get(source.uri) != source.fingerprint
    ]
    return (UPSTREAM, moved) if moved else (UNCHANGED, ())


def changed(locked: LockedWeight, local: Source) -> tuple[str, ...]:
    """The folders of this machine that it came from and that are not what they were; one that is gone is none."""
    found = []
    for source in locked.sources:
        if uris.scheme_of(source.uri) != "file":
            continue
        try:
            now = local.look(source.uri, filters.keeper(source.include, source.exclude))
        except (SourceError, OSError):
            continue  # who pulls the weights need not have it
        if now.fingerprint != source.fingerprint:
            found.append(source.uri)
    return tuple(found)


def _short(fingerprint: str) -> str:
    kind, _, value = fingerprint.partition(":")
    return f"{kind}:{value[:12]}"
