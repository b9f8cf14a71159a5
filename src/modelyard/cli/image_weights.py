"""Weights that are beside an image, in its bundle: brought from where the image was pulled, shown to its container."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence

from modelyard.cli import program, progress, registries, words
from modelyard.cli.container import Shown
from modelyard.cli.image_source import Found
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci import managed
from modelyard.oci.client import reference, remote
from modelyard.oci.client.remote import Repository
from modelyard.oci.manifest import IMAGE_TYPES, Index, Manifest, parse
from modelyard.weights import artifact, mounts, pulling
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedWeight


@contextlib.contextmanager
def shown(found: Found, environ: Mapping[str, str], said: Talk) -> Iterator[Sequence[Shown]]:
    """The folders of its weights, until this is left: none for an image that has them in it, or has none."""
    cache = Cache.of(environ)
    weights = _brought(found, cache, environ, said) if found.config.get("weights") else ()
    if not weights:
        yield ()
        return
    room = mounts.Mounts(cache.root, home="", trial=lambda _: None, name=program.name())
    with room.apart(weights, cache, lambda: secrets.token_hex(8), is_project=False) as folders:
        yield [Shown(folder, target) for folder, target in folders]


def _brought(found: Found, cache: Cache, environ: Mapping[str, str], said: Talk) -> Sequence[LockedWeight]:
    """The weights of the bundle that the image was pulled in; their files are in the store then."""
    for place in found.places:
        name, _, digest = place.partition("@")
        if "/" not in name:  # made here: some engines give such an image a digest, too
            continue
        with remote.open_repository(reference.parse(name, "the image"), registries.find(environ)) as repository:
            try:
                weights = _beside(repository, digest, cache)
            except (ModelyardError, OSError) as error:
                said.warn(f"whether there are weights beside {place} cannot be looked up: {error}")
                continue
            for weight in weights:
                _bring(weight, cache, repository, said)
        if weights:
            return weights
    return ()


def _beside(repository: Repository, digest: str, cache: Cache) -> Sequence[LockedWeight]:
    stored = repository.manifest(digest)
    found = None if stored is None else parse(stored.data, stored.media_type)
    if not isinstance(found, Index):
        return ()
    there = []
    for each in found.manifests:
        part = repository.manifest(each.digest) if each.media_type in IMAGE_TYPES else None
        weight = None if part is None else parse(part.data, part.media_type)
        if isinstance(weight, Manifest) and weight.artifact_type == managed.ARTIFACT:
            there.append(artifact.read(weight, _small(repository, weight.config.digest, cache), each.digest))
    return there


def _small(repository: Repository, digest: str, cache: Cache) -> bytes:
    path = cache.partial(f"{digest.partition(':')[2]}.{secrets.token_hex(4)}")
    try:
        repository.fetch(digest, path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _bring(weight: LockedWeight, cache: Cache, repository: Repository, said: Talk) -> None:
    wanted = pulling.look(weight, cache)
    if not wanted.missing:
        return
    said.say(f"Pulling {weight.name}... ({words.size(wanted.transfer)})")
    watched = said if wanted.transfer >= progress.WATCHED_BYTES else None
    with progress.bar(weight.name, wanted.transfer, watched) as bar:
        pulling.pull(wanted, cache, repository, done=lambda _: None, progress=bar.advance)
