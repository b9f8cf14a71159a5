"""Manifests and image configurations as records; parsing is strict, rendering is deterministic.

A version is an image manifest: its id is the SHA-256 of the manifest's bytes. The same records rendered twice give the
same bytes (keys sorted, no spaces), hence the same id. Shapes: OCI image-spec 1.1 and Docker's schema 2, which is the
same under other media types.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard import errors

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGE_TYPES = (MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (INDEX, DOCKER_INDEX)

# What a layer of ours holds, as an annotation of its descriptor: `source` or `weights`.
LAYER_KIND = "org.modelyard.layer"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ManifestError(errors.BadRequest):
    """The bytes are no manifest (or configuration) that we know; the detail names the key."""

    code = "manifest_invalid"
    title = "Manifest invalid"


class WrongDigestError(errors.ModelyardError):
    """The bytes are not those that were wanted."""

    code = "wrong_digest"
    title = "What came is not what was wanted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to content: its media type, `sha256:<hex>` and size in bytes.

    `platform`: what an index says that a manifest is for, as `linux/amd64`; "" where it says nothing. `artifact_type`:
    what files of another kind it says that it names.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    artifact_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: a configuration and layers, lowest first. With an `artifact_type` it is no image but files of a kind:
    weights, signatures, lists of what is in an image."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MANIFEST
    artifact_type: str | None = None
    subject: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests, one a platform or a role."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = INDEX
    artifact_type: str | None = None
    subject: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The part of an image's configuration that we write and read. `environment`: `KEY=VALUE` lines.

    `ports`: those that it listens on, as `5000/tcp`; `created`: a time as RFC 3339 has it, "" for none; `history`:
    what made each layer.
    """

    architecture: str = "amd64"
    os: str = "linux"
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    working_dir: str = ""
    diff_ids: tuple[str, ...] = ()
    variant: str = ""
    user: str = ""
    command: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    created: str = ""
    history: tuple[str, ...] = ()


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Is this `sha256:` and 64 lowercase hexadecimal digits?"""
    return _DIGEST.fullmatch(text) is not None


def blob_key(digest: str) -> str:
    """Where content of this digest lies among the blobs. Raises ManifestError for what is no digest."""
    if not is_digest(digest):
        raise ManifestError(f"{digest!r} is no digest: sha256: and 64 hexadecimal digits are wanted")
    return "oci/sha256/" + digest.removeprefix("sha256:")


def render(manifest: Manifest) -> bytes:
    """The bytes of a manifest; their digest is the image's id."""
    return _dumps(
        {
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "artifactType": manifest.artifact_type,
            "config": _descriptor_json(manifest.config),
            "layers": [_descriptor_json(layer) for layer in manifest.layers],
            "subject": None if manifest.subject is None else _descriptor_json(manifest.subject),
            "annotations": dict(manifest.annotations) or None,
        }
    )


def render_config(config: Config) -> bytes:
    """The bytes of an image configuration. The time of making is not among them, unless `created` says one: it would
    make each build another image."""
    inner: dict[str, Any] = {
        "Labels": dict(config.labels) or None,
        "Env": list(config.environment) or None,
        "WorkingDir": config.working_dir or None,
        "User": config.user or None,
        "Cmd": list(config.command) or None,
        "ExposedPorts": {port: {} for port in config.ports} or None,
    }
    return _dumps(
        {
            "architecture": config.architecture,
            "variant": config.variant or None,
            "created": config.created or None,
            "os": config.os,
            "config": {key: value for key, value in inner.items() if value is not None},
            "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
            "history": [
                {"created_by": line, **({"created": config.created} if config.created else {})}
                for line in config.history
            ]
            or None,
        }
    )


def render_index(index: Index) -> bytes:
    """The bytes of an index."""
    return _dumps(
        {
            "schemaVersion": 2,
            "mediaType": index.media_type,
            "manifests": [_descriptor_json(one) for one in index.manifests],
            "annotations": dict(index.annotations) or None,
        }
    )


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """A manifest from its bytes; `media_type`, as a header gave it, decides where the text does not name its own.

    Raises ManifestError.
    """
    document = _object(_loads(data), "the manifest")
    if document.get("schemaVersion") != 2:
        raise ManifestError("schemaVersion: 2 is wanted")
    said = document.get("mediaType") or media_type.partition(";")[0].strip()
    kind = said or (INDEX if "manifests" in document else MANIFEST)
    if not isinstance(kind, str) or kind not in (*INDEX_TYPES, *IMAGE_TYPES):
        raise ManifestError(f"mediaType {str(kind)[:100]!r}: an image manifest or an index is wanted")
    artifact = document.get("artifactType")
    subject = document.get("subject")
    if kind in INDEX_TYPES:
        return Index(
            manifests=_descriptors(document, "manifests"),
            annotations=_annotations(document),
            media_type=kind,
            artifact_type=artifact if isinstance(artifact, str) else None,
            subject=None if subject is None else _descriptor(subject, "subject"),
        )
    return Manifest(
        config=_descriptor(document.get("config"), "config"),
        layers=_descriptors(document, "layers"),
        annotations=_annotations(document),
        media_type=kind,
        artifact_type=artifact if isinstance(artifact, str) else None,
        subject=None if subject is None else _descriptor(subject, "subject"),
    )


def named(found: Manifest | Index) -> tuple[str, ...]:
    """The digests of all that it names."""
    return tuple(descriptor.digest for descriptor in described(found))


def described(found: Manifest | Index) -> tuple[Descriptor, ...]:
    """All that it names, with sizes."""
    return found.manifests if isinstance(found, Index) else (found.config, *found.layers)


def parse_config(data: bytes) -> Config:
    """An image configuration from its bytes; what other tools write beside is passed over. Raises ManifestError."""
    document = _object(_loads(data), "the configuration")
    inner = _object(document.get("config") or {}, "config")
    rootfs = _object(document.get("rootfs") or {}, "rootfs")
    labels = _object(inner.get("Labels") or {}, "config.Labels")
    return Config(
        architecture=str(document.get("architecture") or ""),
        os=str(document.get("os") or ""),
        labels={key: str(value) for key, value in labels.items()},
        environment=tuple(str(line) for line in _list(inner.get("Env") or [], "config.Env")),
        working_dir=str(inner.get("WorkingDir") or ""),
        diff_ids=tuple(str(line) for line in _list(rootfs.get("diff_ids") or [], "rootfs.diff_ids")),
        variant=str(document.get("variant") or ""),
        user=str(inner.get("User") or ""),
        command=tuple(str(word) for word in _list(inner.get("Cmd") or [], "config.Cmd")),
        ports=tuple(sorted(_object(inner.get("ExposedPorts") or {}, "config.ExposedPorts"))),
        created=str(document.get("created") or ""),
    )


def _dumps(document: Mapping[str, Any]) -> bytes:
    present = {key: value for key, value in document.items() if value is not None}
    return json.dumps(present, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _loads(data: bytes) -> object:
    try:
        found = json.loads(data)
        if rb"\ud" in data.lower():
            # Halves of characters: they pass as JSON, and no database takes them.
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except ValueError as error:
        raise ManifestError(f"this is not JSON: {error}") from None
    except RecursionError:
        raise ManifestError("this JSON is nested too deeply") from None


def _descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    if descriptor.platform:
        system, _, architecture = descriptor.platform.partition("/")
        found["platform"] = {"os": system, "architecture": architecture}
    if descriptor.artifact_type:
        found["artifactType"] = descriptor.artifact_type
    return found


def _descriptors(document: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    items = _list(document.get(key), key)
    return tuple(_descriptor(item, f"{key}[{number}]") for number, item in enumerate(items))


def _descriptor(value: object, where: str) -> Descriptor:
    found = _object(value, where)
    media_type, digest, size = found.get("mediaType"), found.get("digest"), found.get("size")
    if not isinstance(media_type, str):
        raise ManifestError(f"{where}.mediaType: a text is wanted")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ManifestError(f"{where}.digest: sha256: and 64 hexadecimal digits are wanted, found {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestError(f"{where}.size: a number of bytes is wanted, found {size!r}")
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        annotations=_annotations(found),
        platform=_platform(_object(found.get("platform") or {}, f"{where}.platform")),
        artifact_type=str(found.get("artifactType") or ""),
    )


def _platform(found: Mapping[str, Any]) -> str:
    return f"{found['os']}/{found['architecture']}" if found.get("os") and found.get("architecture") else ""


def _annotations(document: Mapping[str, Any]) -> dict[str, str]:
    found = _object(document.get("annotations") or {}, "annotations")
    return {key: str(value) for key, value in found.items()}


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: an object is wanted")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ManifestError(f"{where}: a list is wanted")
    return value
