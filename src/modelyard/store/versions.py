"""Versions made ready on this host: the environment of their lock and their source, unpacked once, counted, shared.

    <root>/environments/<key>/      one for each lock, Python and platform (see `environments`)
    <root>/layers/<hex>/            the files of a weights layer, shared by hard links between versions
    <root>/sources/<hex>/           the source of one version, read-only by habit
    <root>/instances/<id>/source/   the working copy of one instance; `version` beside it says of which version
    <root>/instances/<id>/weights/  its managed weights, a folder each: links to files of layers

Everything is made under another name and then renamed: what has its name is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.oci import labels, managed
from modelyard.oci.managed import Weight
from modelyard.oci.manifest import LAYER_KIND, Config, Descriptor, Manifest, blob_key, parse_config, render
from modelyard.oci.unpack import unpack
from modelyard.store import copies, environments, system_packages
from modelyard.store import weights as links
from modelyard.store.environments import Lock
from modelyard.store.inventory import lock_key, use_key
from modelyard.store.uv import Report
from modelyard.uses import Uses

_VERSION_FILE = "version"
_PYTHON_FILE = "python"
# One and the same folder may be made twice at once, by this process too.
_numbers = itertools.count()
_OF_THE_SOURCE = (labels.SOURCE, labels.WEIGHTS)


class NotOursError(errors.Invalid):
    """The image has no lock, so this host cannot make its environment: somebody else or a Dockerfile made it."""

    code = "version_not_runnable"
    title = "The version cannot be run here"


class MissingPackagesError(errors.Invalid):
    """The version names system packages that this host lacks; the detail says which."""

    code = "version_not_runnable"
    title = "The version cannot be run here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A version made ready for one instance: the environment's `python` and the instance's own copy of the source.

    `folders`: what else it is to see, and at which absolute paths. `release` takes the copy away and lets the version
    be collected; calling it again does nothing.
    """

    python: Path
    source: Path
    release: Callable[[], None]
    image: None = None
    folders: tuple[tuple[Path, str], ...] = ()


def managed_by(manifest: Manifest, config: Config) -> tuple[Weight, ...]:
    """The weights that an image says of itself, whose layers are its own. Raises WeightsError."""
    found = managed.read(config.labels.get(labels.MANAGED_WEIGHTS))
    managed.check_layers(found, {layer.digest for layer in manifest.layers})
    return found


def version_key(manifest: Manifest) -> str:
    """What the store calls a version: the digest of its manifest as we write it, in hex."""
    return hashlib.sha256(render(manifest)).hexdigest()


class Store:
    """What one host keeps. `environ`: the environment that uv is given; `uses` is told what is about to be used;
    `has_room`: may the disk take more?"""

    def __init__(
        self,
        root: Path,
        blobs: Blobs,
        environ: Mapping[str, str],
        uses: Uses | None = None,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.root = self._root = root
        self._uses = uses or Uses(0.0)
        self._blobs = blobs
        self._environ = environ
        self._has_room = has_room
        self._locks: dict[str, asyncio.Lock] = {}
        self._used: Counter[str] = Counter()
        self._pythons: dict[str, Path] = {}

    async def materialise(
        self, manifest: Manifest, instance: str, report: Report, weights: Sequence[Weight] = ()
    ) -> Prepared:
        """Make a version ready for an instance. Many may ask at once for one version: it is made once.

        `weights`: what it is to see besides what its image says. `report` is told lines of progress, also from other
        threads. Raises NotOursError, MissingPackagesError, UnpackError, OutOfSpace, WeightsError, NoPythonError,
        EnvironmentFailedError, NotFound when a blob is gone.
        """
        version = version_key(manifest)
        self._used[version] += 1
        try:
            await self._announce(version, manifest)
            async with self._locks.setdefault(version, asyncio.Lock()):
                config = parse_config(await read(self._blobs, blob_key(manifest.config.digest)))
                python = await self._make(version, manifest, config, report)
            wanted = [*managed_by(manifest, config), *weights]
            await self._unpack_managed(wanted, report)
            folder = self._root / "instances" / instance
            await asyncio.to_thread(self._check_out, version, python, folder)
            shown = await asyncio.to_thread(links.link, wanted, self._root / "layers", folder / "weights")
        except BaseException:
            self._used[version] -= 1
            raise
        return self._prepared(version, python, folder, shown)

    async def show(self, wanted: Sequence[Weight], instance: str, report: Report) -> tuple[tuple[Path, str], ...]:
        """The folders of weights for an instance whose image has the rest, each with its target; `forget` takes them
        away. Raises WeightsError, UnpackError, NotFound when a blob is gone."""
        folder = self._root / "instances" / instance
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._unpack_managed(wanted, report)
        return await asyncio.to_thread(links.link, wanted, self._root / "layers", folder / "weights")

    def forget(self, instance: str) -> None:
        """Take away what is an instance's own."""
        shutil.rmtree(self._root / "instances" / instance, ignore_errors=True)

    def adopt(self, instance: str) -> Prepared | None:
        """The place of an instance that an earlier life of this process made ready; None when there is none."""
        folder = self._root / "instances" / instance
        try:
            version, python = (folder / _VERSION_FILE).read_text(), Path((folder / _PYTHON_FILE).read_text())
        except OSError:
            return None
        self._used[version] += 1
        return self._prepared(version, python, folder)

    def sweep(self, alive: Set[str]) -> None:
        """Take away the working copies of instances that are no more."""
        with contextlib.suppress(FileNotFoundError):
            for folder in (self._root / "instances").iterdir():
                if folder.name not in alive:
                    shutil.rmtree(folder, ignore_errors=True)

    def uses(self, version: str) -> int:
        """How many instances have this version (its manifest's digest in hex) ready now."""
        return self._used[version]

    def _prepared(self, version: str, python: Path, folder: Path, shown: tuple[tuple[Path, str], ...] = ()) -> Prepared:
        held = [version]

        def release() -> None:
            while held:
                self._used[held.pop()] -= 1
                shutil.rmtree(folder, ignore_errors=True)

        return Prepared(python=python, source=folder / "source", release=release, folders=shown)

    async def _announce(self, version: str, manifest: Manifest) -> None:
        digests = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
        layers = [use_key("layers", layer.digest.partition(":")[2]) for layer in manifest.layers]
        await self._uses.using(use_key("sources", version), *layers, *map(blob_key, digests))

    async def _make(self, version: str, manifest: Manifest, config: Config, report: Report) -> Path:
        source = self._root / "sources" / version
        await self._uses.using(use_key("environments", lock_key(config.labels.get(labels.LOCK, ""))))
        known = self._pythons.get(version)
        if known is not None and known.exists() and source.exists():
            return known
        if labels.LOCK not in config.labels:
            raise _not_ours(config)
        await asyncio.to_thread(_check_system, config, report)
        if not source.exists():
            report("Unpacking the source")
            await self._unpack(_annotated(manifest, config), source)
        python = await asyncio.to_thread(self._environment, config, source, report)
        self._pythons[version] = python
        return python

    def _environment(self, config: Config, source: Path, report: Report) -> Path:
        lock = Lock(text=config.labels[labels.LOCK], python=config.labels.get(labels.PYTHON, ""))
        folder = self._root / "environments"
        return environments.ensure(lock, folder, environ=self._environ, report=report, base=source)

    async def _unpack(self, manifest: Manifest, source: Path) -> None:
        layers = [layer for layer in manifest.layers if layer.annotations.get(LAYER_KIND) in _OF_THE_SOURCE]
        async with self._archives([layer.digest for layer in layers]) as archives:
            await asyncio.to_thread(self._unpack_layers, layers, archives, source)

    async def _unpack_managed(self, wanted: Sequence[Weight], report: Report) -> None:
        """Have the layers of managed weights, also where they were taken away since another instance had them."""
        digests = sorted({layer for weight in wanted for _, layer in weight.files})
        await self._uses.using(*(use_key("layers", digest.partition(":")[2]) for digest in digests))
        await self._uses.using(*map(blob_key, digests))
        for digest in digests:
            shared = self._shared(digest)
            # Versions that share a layer may be made ready at the same time.
            async with self._locks.setdefault(digest, asyncio.Lock()):
                if not shared.exists():
                    there = await self._blobs.stat(blob_key(digest))
                    report(f"Unpacking {0 if there is None else there.size / 2**20:.0f} MiB of weights")
                    async with self._archives([digest]) as archives:
                        await asyncio.to_thread(self._unpack_whole, archives[digest], shared)

    @contextlib.asynccontextmanager
    async def _archives(self, digests: Sequence[str]) -> AsyncIterator[Mapping[str, Path]]:
        """Layers as files of this host, by their digests."""
        archives: dict[str, Path] = {}
        try:
            for digest in digests:
                archives[digest] = await self._local(digest)
            yield archives
        finally:
            for path in archives.values():
                if path.parent == self._root / "incoming":
                    path.unlink(missing_ok=True)

    def _shared(self, digest: str) -> Path:
        return self._root / "layers" / digest.partition(":")[2]

    async def _local(self, digest: str) -> Path:
        """The layer as a file of this host: the blob itself where blobs lie on the disk."""
        key = blob_key(digest)
        path = self._blobs.path(key)
        if path is not None:
            return path
        path = self._root / "incoming" / f"{digest.partition(':')[2]}.{os.getpid()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            async for piece in await self._blobs.open(key):
                await asyncio.to_thread(file.write, piece)
        return path

    def _unpack_layers(self, layers: list[Descriptor], archives: Mapping[str, Path], source: Path) -> None:
        with _made_whole(source) as partial:
            for layer in layers:
                archive = archives[layer.digest]
                if layer.annotations[LAYER_KIND] == labels.WEIGHTS:
                    self._link_weights(layer, archive, partial)
                else:
                    unpack(archive, partial, below=labels.SOURCE_FOLDER, has_room=self._has_room)
            _make_read_only(partial)

    def _unpack_whole(self, archive: Path, into: Path, below: str = "") -> None:
        with _made_whole(into) as partial:
            unpack(archive, partial, below=below, has_room=self._has_room)
            _make_read_only(partial)

    def _link_weights(self, layer: Descriptor, archive: Path, into: Path) -> None:
        shared = self._shared(layer.digest)
        if not shared.exists():
            self._unpack_whole(archive, shared, below=labels.SOURCE_FOLDER)
        for path in shared.rglob("*"):
            if path.is_file() and not path.is_symlink():
                target = into / path.relative_to(shared)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                target.hardlink_to(path)

    def _check_out(self, version: str, python: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _touch(self._root / "sources" / version, python.parent.parent)
        copies.copy_tree(self._root / "sources" / version, folder / "source")
        (folder / _PYTHON_FILE).write_text(str(python))
        (folder / _VERSION_FILE).write_text(version)


def _not_ours(config: Config) -> NotOursError:
    by, ours = labels.read_cog(config.labels, labels.COG_VERSION), config.labels.get(labels.VERSION)
    again = "push the project again with `yard push`"
    who = "the image has no lock of its environment, so it was not made by `yard push`"
    if ours is not None:
        who = f"the image was made with --dockerfile by Modelyard {ours}, and runs in a container only"
        again += " and without --dockerfile"
    elif by is not None:
        who += f" but by Cog {by}, and runs in a container only"
    return NotOursError(who, hint=f"Run the yard with MODELYARD_ENGINE=docker, or {again}.")


def _check_system(config: Config, report: Report) -> None:
    """A process has the system packages that its host has. Raises MissingPackagesError."""
    try:
        build = json.loads(labels.read_cog(config.labels, labels.COG_CONFIG) or "{}").get("build") or {}
    except ValueError:
        return
    told = [each.get("command") if isinstance(each, dict) else each for each in build.get("run") or ()]
    if commands := [str(each) for each in told]:
        report(f"build.run of the version is not executed without containers: {'; '.join(commands)}")
    wanted = [str(name) for name in build.get("system_packages") or ()]
    lacking = system_packages.missing(wanted)
    if lacking is None:
        report(f"This host has no dpkg-query to look for the version's system packages: {', '.join(wanted)}")
    elif lacking:
        raise MissingPackagesError(
            f"the version needs packages of the system that this host does not have: {', '.join(lacking)}",
            hint=f"Run `apt-get install {' '.join(lacking)}` on it, or run the yard with MODELYARD_ENGINE=docker.",
        )


def _annotated(manifest: Manifest, config: Config) -> Manifest:
    """The manifest with what each layer holds, also where a tool that pushed it anew has lost that."""
    kinds = config.labels.get(labels.LAYERS, "").split()
    if any(layer.annotations for layer in manifest.layers) or len(kinds) != len(manifest.layers):
        return manifest
    told = zip(manifest.layers, kinds, strict=True)
    return replace(manifest, layers=tuple(replace(layer, annotations={LAYER_KIND: kind}) for layer, kind in told))


def _touch(*folders: Path) -> None:
    """Their times say when they were last used: what was not for longest goes first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.utime(folder)


@contextlib.contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `target` once it is filled."""
    partial = target.with_name(f"{target.name}.{os.getpid()}-{next(_numbers)}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        # Another process may have been quicker: then its folder stays, they are equal.
        with contextlib.suppress(OSError):
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make_read_only(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o555 if path.stat().st_mode & 0o111 else 0o444)
