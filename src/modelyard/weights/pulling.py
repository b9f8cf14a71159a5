"""Files of weights brought from the registry into the store of this machine: what the lock names, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from modelyard import errors
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import PIECE
from modelyard.oci.manifest import WrongDigestError
from modelyard.oci.unpack import SmallInfo
from modelyard.weights.cache import Cache
from modelyard.weights.lock import Lock, LockedFile, LockedLayer, LockedWeight
from modelyard.weights.sources.base import Progress
from modelyard.weights.together import at_once


class PullError(errors.ModelyardError):
    """What is in the registry is not what the lock names."""

    code = "weights_pull_failed"
    title = "Weights could not be pulled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A weight, and what the store lacks of it: its files, and the layers that bring them."""

    weight: LockedWeight
    missing: tuple[LockedFile, ...]
    layers: tuple[LockedLayer, ...]

    @property
    def size(self) -> int:
        """Bytes of the missing files."""
        return sum(file.size for file in self.missing)

    @property
    def transfer(self) -> int:
        """Bytes that are brought for them."""
        return sum(layer.size for layer in self.layers)

    def missing_in(self, layer: LockedLayer) -> tuple[LockedFile, ...]:
        """The missing files that this layer brings."""
        return tuple(file for file in self.missing if file.layer == layer.digest)


def choose(lock: Lock, names: Sequence[str]) -> tuple[LockedWeight, ...]:
    """The weights of these names, all where there are none. Raises UsageError for names that are not there."""
    unknown = [name for name in dict.fromkeys(names) if lock.get(name) is None]
    if unknown:
        known = ", ".join(weight.name for weight in lock.weights) or "none"
        raise errors.UsageError(f"unknown weight(s): [{' '.join(unknown)}]", hint=f"weights.lock has: {known}")
    return tuple(weight for weight in lock.weights if not names or weight.name in names)


def look(weight: LockedWeight, cache: Cache) -> Wanted:
    """What the store lacks of a weight."""
    missing = tuple(file for file in weight.files if not cache.has(file.digest, file.size))
    needed = {file.layer for file in missing}
    return Wanted(
        weight=weight, missing=missing, layers=tuple(layer for layer in weight.layers if layer.digest in needed)
    )


def pull(
    wanted: Wanted,
    cache: Cache,
    repository: Repository,
    *,
    done: Callable[[LockedFile], None],
    progress: Progress,
) -> None:
    """Bring what is missing, several layers at once. `done` is told of each file that is here, also from other threads.

    Cut off, it goes on another time from where it was. Raises PullError, WrongDigestError, and what a registry says.
    """

    def bring(layer: LockedLayer, advance: Progress) -> None:
        with repository.twin() as own, _alone_with(layer, cache):
            _bring(wanted, layer, cache, own, done=done, progress=advance)

    at_once(bring, wanted.layers, progress)


@contextlib.contextmanager
def _alone_with(layer: LockedLayer, cache: Cache) -> Iterator[None]:
    """Two that pull the same layer would write into one file."""
    with cache.partial(f"{_hex(layer)}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bring(
    wanted: Wanted,
    layer: LockedLayer,
    cache: Cache,
    repository: Repository,
    *,
    done: Callable[[LockedFile], None],
    progress: Progress,
) -> None:
    files = wanted.missing_in(layer)
    if all(cache.has(file.digest, file.size) for file in files):  # somebody else brought it in the meantime
        progress(layer.size)
    else:
        archive = cache.partial(_hex(layer))
        try:
            repository.fetch(layer.digest, archive, progress)
        except errors.NotFound:
            name = f"{repository.name}@{wanted.weight.digest}"
            raise PullError(
                f'weight "{wanted.weight.name}" not found in registry ({name}): it has no layer {layer.digest}',
                hint="`weights import` pushes it",
            ) from None
        with archive.open("rb") as file:
            _unpack(file, wanted.weight.name, layer, {one.path: one for one in files}, cache)
        archive.unlink()
    for one in files:
        done(one)


def _unpack(archive: IO[bytes], weight: str, layer: LockedLayer, files: Mapping[str, LockedFile], cache: Cache) -> None:
    """Take files of these names and digests out of an archive; what else is in it is passed over.

    A member's name is only ever compared: where its bytes go is decided by their digest.
    """
    left = dict(files)
    where = f'layer {layer.digest} of weight "{weight}"'
    try:
        with tarfile.open(fileobj=archive, mode="r|*", tarinfo=SmallInfo) as members:
            for member in members:
                file = left.get(member.name.removeprefix("./"))
                members.members = []  # type: ignore[attr-defined]  # the library would remember all that it passes
                if file is None or not member.isreg():
                    continue
                if member.size != file.size:
                    raise WrongDigestError(f"{member.size} bytes cannot have the digest of {file.size}: {file.digest}")
                with contextlib.closing(_content(members, member)) as content:
                    cache.add(_pieces(content), file.digest)
                del left[file.path]
    except WrongDigestError as error:
        raise WrongDigestError(f"{where}: {file.path if file else ''}: {error.detail}") from None
    except (tarfile.TarError, EOFError) as error:
        raise PullError(f"{where} cannot be read: {error}") from None
    if left:
        raise PullError(f"{where} has no file {min(left)}", hint="`weights import` makes it anew")


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = members.extractfile(member)
    if content is None:
        raise PullError(f"{member.name!r} has no content")
    return content


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE):
        yield piece


def _hex(layer: LockedLayer) -> str:
    return layer.digest.removeprefix("sha256:")
