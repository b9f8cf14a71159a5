"""The base of an image: found by its name, here or in a registry; its layers brought when somebody wants them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from modelyard import settings
from modelyard.cli import progress, registries
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.errors import Forbidden, ModelyardError, Unauthenticated, UsageError
from modelyard.oci.client import reference, remote
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout, LayoutError, of_platform
from modelyard.oci.manifest import Descriptor, Manifest, parse, parse_config
from modelyard.packaging import base
from modelyard.packaging.base import Base, BaseError

VARIABLE: Final = "MODELYARD_BASE_IMAGE"
# A tag is looked up again after a day, a registry that did not answer after ten minutes.
_TAG_SECONDS = 86400.0
_SILENT_SECONDS = 600.0
# A look is a few small requests. Who says nothing, first of all to whether it is secured, is given up within half a
# minute. The default base is looked for by every push, which should wait less.
_LOOK_SECONDS, _EAGER_SECONDS = 7.0, 5.0
_LOOK_ATTEMPTS = 3
_MEMORY = "bases.json"
# Begin the names of an engine's images for `yard run` and for skopeo, which are no bases.
_DOCKER = ("docker:", "docker-daemon:")


class NoBaseError(BaseError):
    """There is none that could be reached; the detail says why."""

    code = "no_base_image"
    title = "No base image"


class Wish(NamedTuple):
    """Which base somebody wants: its name if one was given, the Python and machine it is for; `anew`: look again.
    `given`: was it named by who asks, and not by a yard for all its users?"""

    ref: str | None
    minor: str
    architecture: str
    anew: bool = False
    given: bool = True

    @property
    def name(self) -> str:
        """The name, also where none was given."""
        return base.named(self.ref, self.minor) if self.ref else base.default(self.minor)

    @property
    def insists(self) -> bool:
        """Is nothing else taken where it cannot be had?"""
        return self.ref is not None and self.given

    @property
    def platform(self) -> str:
        """As indexes have it."""
        return f"linux/{self.architecture}"


def home(environ: Mapping[str, str]) -> Path:
    """Where a user's images, their layers and what is known of bases lie."""
    return settings.cache_home(environ) / "images"


def wish(flag: str | None, minor: str, architecture: str, environ: Mapping[str, str], *, anew: bool = False) -> Wish:
    """What a flag, or else the environment, says."""
    return Wish(flag or environ.get(VARIABLE) or None, minor, architecture, anew)


def of_yard(wanted: Wish, told: object) -> Wish:
    """The same, with what a yard says that pushes to it are put on, where nobody named a base."""
    if wanted.ref is not None or not isinstance(told, str) or not told:
        return wanted
    return wanted._replace(ref=told, given=False)


def find(wanted: Wish, environ: Mapping[str, str], said: Talk, *, seconds: float | None = None) -> Base:
    """The base, whose layers may be elsewhere. `seconds`: so long a registry is waited for at each attempt.

    Raises NoBaseError, BaseError, UsageError.
    """
    if wanted.ref == base.NONE:
        who = "--base-image or MODELYARD_BASE_IMAGE" if wanted.given else "the yard's setting base_image"
        raise NoBaseError(f"no base is wanted, as {who} says", hint=base.HOW)
    found = _local(wanted) if wanted.name.startswith(base.LOCAL) else _remote(wanted, environ, said, seconds)
    base.check(found, wanted.minor, wanted.architecture)
    return found


def _local(wanted: Wish) -> Base:
    text = wanted.name.removeprefix(base.LOCAL)
    folder, name = Path(text), None
    if not folder.is_dir():
        before, _, name = text.rpartition(":")
        folder = Path(before)
    if not folder.is_dir() or text == name:
        raise NoBaseError(f"{wanted.name}: there is no folder {text}", hint="oci:FOLDER is an OCI layout on this disk")
    layout = Layout(folder.absolute())
    descriptor, manifest = layout.image(name, wanted.platform)
    config = parse_config(layout.read(manifest.config))
    found = base.of(f"{base.LOCAL}{text}", descriptor.digest, manifest, config, layout.path)
    absent = [layer for layer in found.layers if not layout.has(layer.descriptor)]
    if absent:
        raise NoBaseError(f"{wanted.name}: the layer {absent[0].descriptor.digest} is not there in its whole size")
    return found


# In a registry


def _remote(wanted: Wish, environ: Mapping[str, str], said: Talk, seconds: float | None) -> Base:
    store, memory = Layout(home(environ)), Memory(home(environ) / _MEMORY)
    key = f"{wanted.name} {wanted.platform}"
    known = memory.get(key)
    fresh = time.time() - known.get("at", 0.0) < (_TAG_SECONDS if "digest" in known else _SILENT_SECONDS)
    if known and fresh and not wanted.anew:
        found = _known(wanted, known, store)
        if found is not None:
            return found
        if "failed" in known and not wanted.insists:
            raise NoBaseError(str(known["failed"]), hint=base.HOW)
    try:
        descriptor = _look_up(wanted, environ, store, said, seconds)
    except (ModelyardError, OSError) as error:
        if isinstance(error, UsageError | LayoutError):
            raise
        found = _known(wanted, known, store)
        if found is not None:
            said.warn(f"{wanted.name} could not be looked up ({error}); what it was before is taken")
            return found
        reason = f"the base image {wanted.name} cannot be had: {error}"
        memory.put(key, {"failed": reason, "at": time.time()})
        # A name without a host is also how an engine calls an image of its own.
        is_plain = wanted.insists and _parsed(wanted.name)[0].registry == reference.DEFAULT_REGISTRY
        hint = base.OF_ENGINE.format(name=wanted.name) if is_plain else base.HOW
        if isinstance(error, Unauthenticated | Forbidden) and error.hint:
            hint = error.hint if wanted.insists and not is_plain else f"{hint}; or log in: {error.hint}"
        raise NoBaseError(reason, hint=hint) from None
    memory.put(key, {"digest": descriptor.digest, "size": descriptor.size, "at": time.time()})
    found = _known(wanted, memory.get(key), store)
    assert found is not None  # noqa: S101 - it was just put there
    return found


def _look_up(wanted: Wish, environ: Mapping[str, str], store: Layout, said: Talk, seconds: float | None) -> Descriptor:
    """Bring the manifest for the platform and its configuration, and nothing else."""
    said.say(f"Looking up {wanted.name}")
    place, tag = _parsed(wanted.name)
    with remote.open_repository(
        place,
        registries.find(environ),
        timeout_seconds=seconds or (_LOOK_SECONDS if wanted.insists else _EAGER_SECONDS),
        patient=wanted.insists,
        attempts=_LOOK_ATTEMPTS,
        told=said.trying_again,
    ) as repository:
        stored = repository.manifest(tag)
        if stored is None:
            raise NoBaseError(f"{repository.name} has no {tag}")
        found = parse(stored.data, stored.media_type)
        if not isinstance(found, Manifest):
            one = of_platform(found, wanted.platform, wanted.name)
            stored = repository.manifest(one.digest)
            if stored is None:
                raise NoBaseError(f"{repository.name} names {one.digest}, and has it not")
            found = parse(stored.data, stored.media_type)
        if not isinstance(found, Manifest):
            raise NoBaseError(f"{wanted.name} for {wanted.platform} is no image")
        if not store.has(found.config):
            _bring(repository, found.config, store)
        return Descriptor(media_type=found.media_type, digest=store.put(stored.data), size=len(stored.data))


def _known(wanted: Wish, known: Mapping[str, Any], store: Layout) -> Base | None:
    """The base whose manifest and configuration are here."""
    if not isinstance(known.get("digest"), str):
        return None
    try:
        described = Descriptor(media_type="", digest=known["digest"], size=0)
        manifest = parse(store.read(described))
        if not isinstance(manifest, Manifest):
            return None
        config = parse_config(store.read(manifest.config))
    except LayoutError:
        return None
    return base.of(wanted.name, described.digest, manifest, config, store.path)


def origin(ref: str) -> str | None:
    """`HOST/path` of the repository that a base is in; None where it is on this disk."""
    if ref.startswith(base.LOCAL):
        return None
    place, _ = _parsed(ref)
    return f"{place.registry}/{place.path}"


def complete(layers: Iterable[Layer], ref: str, environ: Mapping[str, str], said: Talk) -> None:
    """Have these layers of the base on this disk. Raises what a registry's refusal is."""
    absent = [layer.descriptor for layer in layers if not _is_here(layer)]
    if not absent:
        return
    store = Layout(home(environ))
    total = sum(descriptor.size for descriptor in absent)
    watched = said if total >= progress.WATCHED_BYTES and said.is_terminal else None
    if watched is None:
        said.say(f"Fetching {len(absent)} layer{'s' * (len(absent) != 1)} of {ref}")
    place, _ = _parsed(ref)
    who = registries.find(environ)
    with (
        remote.open_repository(place, who, told=said.trying_again) as repository,
        progress.bar("Fetching", total, watched) as bar,
    ):
        for descriptor in absent:
            _bring(repository, descriptor, store, bar)


def _is_here(layer: Layer) -> bool:
    try:
        return layer.path.stat().st_size + len(layer.head) + len(layer.tail) == layer.descriptor.size
    except OSError:
        return False


def _bring(repository: Repository, descriptor: Descriptor, store: Layout, bar: progress.Bar | None = None) -> None:
    partial = store.folder / "incoming" / descriptor.digest.partition(":")[2]
    partial.parent.mkdir(parents=True, exist_ok=True)
    repository.fetch(descriptor.digest, partial, bar.advance if bar else lambda _: None)
    store.take(partial, descriptor.digest)


def _parsed(name: str) -> tuple[reference.Reference, str]:
    """The repository, and the tag or digest in it. Raises UsageError."""
    if name.startswith(_DOCKER):
        hint = base.OF_ENGINE.format(name=name.partition(":")[2])
        raise UsageError(f"the base image is {name!r}; wanted: HOST/NAME:TAG or oci:FOLDER", hint=hint)
    plain, _, digest = name.partition("@")
    place = reference.parse(plain, "the base image")
    return place, digest or place.tag or "latest"
