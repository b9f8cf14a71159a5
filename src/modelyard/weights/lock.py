"""`weights.lock`: what was imported, file by file; read strictly, written the same way each time."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import durable, errors
from modelyard.oci.manifest import is_digest
from modelyard.packaging.config_source.records import Weight
from modelyard.weights import uris

FILE: Final = "weights.lock"
VERSION: Final = 1
# How this packs; another way of packing gets another name.
ENVELOPE: Final = "tar-pax-1"
_AGAIN = "take it from version control, or delete it: `weights import` writes it anew"


class LockError(errors.ModelyardError):
    """weights.lock cannot be used."""

    status = 422
    code = "weights_lock_invalid"
    title = "weights.lock is not valid"


class OutOfSyncError(errors.ModelyardError):
    """cog.yaml and weights.lock say different things."""

    status = 409
    code = "weights_out_of_sync"
    title = "weights.lock is out of sync with cog.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSource:
    """Where files came from, and what that was at the time: `commit:…`, `etag:…` or `sha256:…`."""

    uri: str
    fingerprint: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A file in the weight's folder; `layer`: the digest of the layer that brings it."""

    path: str
    size: int
    digest: str
    layer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLayer:
    """A layer in the registry; `size` as it is there, `size_uncompressed` of the files that it brings."""

    digest: str
    media_type: str
    size: int
    size_uncompressed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWeight:
    """`digest`: of its manifest; `set_digest`: of its files alone. `imported_at`: as RFC 3339 has it."""

    name: str
    target: str
    sources: tuple[LockedSource, ...]
    imported_at: str
    digest: str
    set_digest: str
    size: int
    size_compressed: int
    files: tuple[LockedFile, ...]
    layers: tuple[LockedLayer, ...]

    def files_of(self, layer: str) -> tuple[LockedFile, ...]:
        """What one layer brings."""
        return tuple(file for file in self.files if file.layer == layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole file."""

    weights: tuple[LockedWeight, ...] = ()
    envelope_format: str = ENVELOPE

    def get(self, name: str) -> LockedWeight | None:
        """The weight of this name."""
        return next((weight for weight in self.weights if weight.name == name), None)

    def with_weights(self, changed: Iterable[LockedWeight], *, keep: Iterable[str]) -> Lock:
        """The same with these put in, or put in their place; of the others only those called `keep`."""
        new = {weight.name: weight for weight in changed}
        kept = {weight.name: weight for weight in self.weights if weight.name in set(keep)}
        # The way of packing is that of what is kept, until all of it was packed by this.
        form = self.envelope_format if kept.keys() - new.keys() else ENVELOPE
        return Lock(weights=tuple((kept | new).values()), envelope_format=form)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference between cog.yaml and the lock. `kind`: `pending`, `orphaned` or `stale`."""

    name: str
    kind: str
    text: str


def path_of(root: Path) -> Path:
    """Where the lock of a project lies."""
    return root / FILE


def load(path: Path) -> Lock | None:
    """The lock, None where there is none. Raises LockError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return parse(data)
    except LockError as error:
        raise LockError(f"{path.name}: {error.detail}", hint=error.hint) from None


def save(path: Path, lock: Lock) -> None:
    """Write the lock, whole or not at all. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(render(lock))
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    durable.sync(path.parent)


def render(lock: Lock) -> bytes:
    """Its bytes: weights by name, files by path, layers by digest."""
    document = {
        "version": VERSION,
        "envelopeFormat": lock.envelope_format,
        "weights": [_weight_json(weight) for weight in sorted(lock.weights, key=lambda weight: weight.name)],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _weight_json(weight: LockedWeight) -> dict[str, Any]:
    return {
        "name": weight.name,
        "target": weight.target,
        "sources": [
            {
                "uri": source.uri,
                "fingerprint": source.fingerprint,
                "include": list(source.include),
                "exclude": list(source.exclude),
            }
            for source in weight.sources
        ],
        "importedAt": weight.imported_at,
        "digest": weight.digest,
        "setDigest": weight.set_digest,
        "size": weight.size,
        "sizeCompressed": weight.size_compressed,
        "files": [
            {"path": file.path, "size": file.size, "digest": file.digest, "layer": file.layer}
            for file in sorted(weight.files, key=lambda file: file.path)
        ],
        "layers": [
            {
                "digest": layer.digest,
                "mediaType": layer.media_type,
                "size": layer.size,
                "sizeUncompressed": layer.size_uncompressed,
            }
            for layer in sorted(weight.layers, key=lambda layer: layer.digest)
        ],
    }


def parse(data: bytes) -> Lock:
    """A lock from its bytes. Raises LockError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LockError(f"this is not JSON: {error}", hint=_AGAIN) from None
    read = _Reader("the file", document)
    version = read.fields.get("version")
    if version != VERSION or isinstance(version, bool):
        raise LockError(f"version is {version!r}; wanted: {VERSION}", hint=f"an older or newer tool made it; {_AGAIN}")
    weights = tuple(_weight(item) for item in read.items("weights"))
    _once([weight.name for weight in weights], "weights: the name")
    form = read.fields.get("envelopeFormat")
    return Lock(weights=weights, envelope_format="" if form is None else str(form))


def _weight(read: _Reader) -> LockedWeight:
    weight = LockedWeight(
        name=read.text("name"),
        target=read.text("target"),
        sources=tuple(
            LockedSource(
                uri=item.text("uri"),
                fingerprint=item.text("fingerprint"),
                include=item.texts("include"),
                exclude=item.texts("exclude"),
            )
            for item in read.items("sources")
        ),
        imported_at=read.text("importedAt"),
        digest=read.digest("digest"),
        set_digest=read.digest("setDigest"),
        size=read.number("size"),
        size_compressed=read.number("sizeCompressed"),
        files=tuple(
            LockedFile(
                path=item.path("path"),
                size=item.number("size"),
                digest=item.digest("digest"),
                layer=item.digest("layer"),
            )
            for item in read.items("files")
        ),
        layers=tuple(
            LockedLayer(
                digest=item.digest("digest"),
                media_type=item.text("mediaType"),
                size=item.number("size"),
                size_uncompressed=item.number("sizeUncompressed"),
            )
            for item in read.items("layers")
        ),
    )
    _check(weight, read)
    return weight


def _check(weight: LockedWeight, read: _Reader) -> None:
    if not weight.target.startswith("/") or not is_inside(weight.target[1:]):
        raise LockError(f"{read.where}.target is {weight.target!r}; wanted: an absolute folder", hint=_AGAIN)
    paths = [file.path for file in weight.files]
    _once(paths, f"{read.where}.files: the path")
    folders = {path[:at] for path in paths for at, sign in enumerate(path) if sign == "/"}
    if both := sorted(folders & set(paths)):
        raise LockError(f"{read.where}.files: {both[0]!r} is a file and a folder", hint=_AGAIN)
    known = {layer.digest for layer in weight.layers}
    for number, file in enumerate(weight.files):
        if file.layer not in known:
            raise LockError(
                f"{read.where}.files[{number}].layer is {file.layer!r}, which is not among its layers", hint=_AGAIN
            )


def _once(values: Sequence[str], what: str) -> None:
    twice = {value for value in values if values.count(value) > 1} if len(set(values)) < len(values) else set()
    if twice:
        raise LockError(f"{what} {min(twice)!r} stands there twice", hint=_AGAIN)


def is_inside(path: str) -> bool:
    """Is this a relative path that stays where it begins, in its one spelling?"""
    return "\0" not in path and "\\" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


class _Reader:
    """One object of the file, and where it stands."""

    def __init__(self, where: str, value: object) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise self._wrong("", value, "an object")
        self.fields: Mapping[str, Any] = value

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, value, "a text")
        return value

    def number(self, key: str) -> int:
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, value, "a number of bytes")
        return value

    def digest(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str) or not is_digest(value):
            raise self._wrong(key, value, "sha256: and 64 hexadecimal digits")
        return value

    def path(self, key: str) -> str:
        value = self.text(key)
        if not is_inside(value):
            raise self._wrong(key, value, "a path inside the weight's folder")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, value, "a list of texts")
        return tuple(value)

    def items(self, key: str) -> list[_Reader]:
        value = self.fields.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, value, "a list")
        prefix = key if self.where == "the file" else f"{self.where}.{key}"
        return [_Reader(f"{prefix}[{number}]", item) for number, item in enumerate(value)]

    def _wrong(self, key: str, value: object, wanted: str) -> LockError:
        name = key if self.where == "the file" and key else f"{self.where}.{key}" if key else self.where
        shown = repr(value)
        return LockError(f"{name} is {shown[:80]}{'…' if len(shown) > 80 else ''}; wanted: {wanted}", hint=_AGAIN)


# cog.yaml beside the lock


def drift(weights: Sequence[Weight], lock: Lock | None) -> list[Drift]:
    """Every difference, in the order of cog.yaml and then of the lock."""
    found = []
    for weight in weights:
        locked = lock.get(weight.name) if lock else None
        if locked is None:
            found.append(Drift(name=weight.name, kind="pending", text="not imported yet"))
        elif details := config_changes(weight, locked):
            text = f"config changed ({'; '.join(details)})"
            found.append(Drift(name=weight.name, kind="stale", text=text))
    named = {weight.name for weight in weights}
    found += [
        Drift(name=locked.name, kind="orphaned", text="removed from cog.yaml but still in lockfile")
        for locked in (lock.weights if lock else ())
        if locked.name not in named
    ]
    return found


def config_changes(weight: Weight, locked: LockedWeight) -> list[str]:
    """What cog.yaml says of a weight otherwise than when it was imported."""
    changes = []
    if weight.target != locked.target:
        changes.append(f"target: {locked.target} → {weight.target}")
    now, then = [uris.normalised(source.uri) for source in weight.sources], [s.uri for s in locked.sources]
    if now != [uris.normalised(uri) for uri in then]:
        return [*changes, f"source: {', '.join(then)} → {', '.join(now)}"]
    for source, old in zip(weight.sources, locked.sources, strict=True):
        for key, new_patterns, old_patterns in (
            ("include", source.include, old.include),
            ("exclude", source.exclude, old.exclude),
        ):
            if sorted(new_patterns) != sorted(old_patterns):
                changes.append(f"{key}: [{', '.join(old_patterns)}] → [{', '.join(new_patterns)}]")
    return changes


def require_sync(weights: Sequence[Weight], lock: Lock | None, program: str) -> None:
    """Raises OutOfSyncError with every difference. `program`: what the command is called."""
    found = drift(weights, lock)
    if found:
        lines = [f'  - "{one.name}": {one.text}' for one in found]
        told = ["weights.lock is out of sync with cog.yaml:", *lines, f"Run '{program} weights import' to update."]
        raise OutOfSyncError("\n".join(told))
