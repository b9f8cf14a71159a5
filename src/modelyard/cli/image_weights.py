"""Weights that are beside an image, in its bundle: brought from where the image was pulled, shown to its container.

What a bundle's registry says is kept by its digest, as the files are. So whoever ran an image once asks nobody again.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from modelyard.cli import bundle, docker, program, progress, registries, words
from modelyard.cli.container import Shown
from modelyard.cli.image_source import Found
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci import managed
from modelyard.oci.client import reference, remote
from modelyard.oci.client.remote import Repository
from modelyard.oci.manifest import IMAGE_TYPES, Index, Manifest, digest_of, parse
from modelyard.weights import artifact, mounts, pulling
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedWeight


class NoWeightsError(ModelyardError):
    """Weights of an image are not on this machine, and cannot be brought."""

    code = "no_weights"
    title = "Weights are missing"


@contextlib.contextmanager
def shown(found: Found, environ: Mapping[str, str], said: Talk) -> Iterator[Sequence[Shown]]:
    """The folders of its weights, until this is left: none for an image that has them in it, or has none. Raises
    NoWeightsError."""
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
    # What was made here is in no registry, though some engines give it a digest, too.
    places = [place for place in found.places if "/" in place.partition("@")[0]]
    failures = []
    for place in places:
        name, _, digest = place.partition("@")
        with remote.open_repository(
            reference.parse(name, "the image"), registries.find(environ), told=said.trying_again
        ) as repository:
            try:
                weights = _beside(repository, digest, cache)
                for weight in weights:
                    _bring(weight, cache, repository, said)
            except (ModelyardError, OSError) as error:
                failures.append(f"{place}: {error}")
                continue
        if weights:
            return weights
    if places and docker.Engine(environ).text_in(found.id, bundle.RUNTIME_FILE) is not None:
        raise _missing(found, failures or [f"{places[0]} is no bundle"])
    return ()


def _missing(found: Found, why: Sequence[str]) -> NoWeightsError:
    """`why`: what was said where they were looked for."""
    names = ", ".join(str(each.get("name")) for each in found.config["weights"])
    return NoWeightsError(
        f"the image {found.name!r} has its weights ({names}) beside it in its registry, and not all of them are on this"
        f" machine, nor can they be brought: {'; '.join(why)}",
        hint="pull it by the name that it was pushed with, and run it once while its registry answers (`yard login` or"
        " `docker login` tell who you are there); after that it needs no registry",
    )


def _beside(repository: Repository, digest: str, cache: Cache) -> Sequence[LockedWeight]:
    stored = _manifest(repository, digest, cache)
    if not isinstance(stored, Index):
        return ()
    there = []
    for each in stored.manifests:
        weight = _manifest(repository, each.digest, cache) if each.media_type in IMAGE_TYPES else None
        if isinstance(weight, Manifest) and weight.artifact_type == managed.ARTIFACT:
            there.append(artifact.read(weight, _small(repository, weight.config.digest, cache), each.digest))
    return there


def _manifest(repository: Repository, digest: str, cache: Cache) -> Index | Manifest | None:
    def ask() -> bytes | None:
        stored = repository.manifest(digest)
        return None if stored is None else stored.data

    data = _kept(digest, cache, ask)
    return None if data is None else parse(data)


def _small(repository: Repository, digest: str, cache: Cache) -> bytes:
    path = cache.partial(f"{digest.partition(':')[2]}.{secrets.token_hex(4)}")

    def ask() -> bytes:
        try:
            repository.fetch(digest, path)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    return _kept(digest, cache, ask) or b""


def _kept(digest: str, cache: Cache, ask: Callable[[], bytes | None]) -> bytes | None:
    """What has this digest, which is only asked for where the store does not have it."""
    with contextlib.suppress(OSError):
        data = cache.path(digest).read_bytes()
        if digest_of(data) == digest:
            return data
    asked = ask()
    if asked is not None:
        with contextlib.suppress(OSError):  # a store that nobody may write to is read all the same
            cache.add((asked,), digest)
    return asked


def _bring(weight: LockedWeight, cache: Cache, repository: Repository, said: Talk) -> None:
    wanted = pulling.look(weight, cache)
    if not wanted.missing:
        return
    said.say(f"Pulling {weight.name}... ({words.size(wanted.transfer)})")
    watched = said if wanted.transfer >= progress.WATCHED_BYTES else None
    with progress.bar(weight.name, wanted.transfer, watched) as bar:
        pulling.pull(wanted, cache, repository, done=lambda _: None, progress=bar.advance)
