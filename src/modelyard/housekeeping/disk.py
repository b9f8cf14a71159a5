"""What lies on the disk: layers, environments, sources and caches that nothing needs; logs, leftovers, old backups.

Folders are looked at, measured and deleted on threads. What is needed is asked first and everything else after it, so
that what arrives meanwhile is young or in use, and stays.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.blobs.base import Blobs
from modelyard.engines.base import EngineError, Images, KeptImage
from modelyard.housekeeping import policy, trash
from modelyard.housekeeping.data import Run
from modelyard.housekeeping.policy import Needed, Thing
from modelyard.housekeeping.references import References, UnknownNeedsError
from modelyard.machine import Machine
from modelyard.models.census import Census
from modelyard.models.service import Models
from modelyard.registry.repositories import Repositories
from modelyard.registry.uploads import Uploads
from modelyard.store import inventory
from modelyard.upkeep import Item
from modelyard.uses import Uses

_IMAGES = "oci/sha256"
_IN_ENGINE = "engine images"
# What an engine began to pull so lately may be about to run.
_PULL_SECONDS = 600.0
# What of an instance's folder is its scratch; the rest is its log.
_SCRATCH = ("tmp", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of a yard that housekeeping looks into."""

    store: Path
    caches: Path
    instances: Path
    uploads: Path
    backups: Path

    def with_trash(self) -> list[Path]:
        """Every folder that may have a trash in it."""
        below = [self.store / name for name in ("environments", "sources", "layers", "incoming", "instances")]
        return [*below, self.caches, self.instances, self.uploads, self.backups]


class Disk:
    """Cleans what lies on the disk. `uses`: what pushes and starting instances are about to use."""

    def __init__(
        self,
        *,
        places: Places,
        blobs: Blobs,
        models: Models,
        census: Census,
        repositories: Repositories,
        uploads: Uploads,
        machine: Machine,
        uses: Uses,
        images: Images | None = None,
    ) -> None:
        self._engine_images = images
        self._places = places
        self._blobs = blobs
        self._models = models
        self._census = census
        self._repositories = repositories
        self._uploads = uploads
        self._machine = machine
        self._uses = uses
        self._references = References(blobs)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Leave off soon: what is in the trash is deleted another time."""
        self._stopped.set()

    async def clean(self, run: Run) -> None:
        """All of it, the kinds one after the other. What cannot be removed is reported, and the rest goes on."""
        since = asyncio.get_running_loop().time() - self._uses.remembered_seconds
        try:
            needed = await self._needed(run.now)
        except UnknownNeedsError as error:
            run.report.fail("images", "layers, environments, sources and caches", f"all of them stay: {error.detail}")
        else:
            await self._unneeded(run, needed, since)
            await self._in_engine(run, needed)
        await self._aged(run)
        await self._uploads_given_up(run)

    async def empty_trash(self, run: Run) -> None:
        """Finish what an earlier process began to delete."""
        failed = await asyncio.to_thread(trash.empty, self._places.with_trash(), self._stopped.is_set)
        for path, error in failed:
            run.report.fail("leftovers", str(path), _said(error))

    # -- what nobody needs

    async def _needed(self, now: int) -> Needed:
        living = await self._census.living()
        manifests = await self._repositories.manifests()
        running = {(each.model_id, each.version_id) for each in self._machine.observe().instances}
        certain = [f"sha256:{version}" for _, version in living]
        used = [*(f"sha256:{version}" for _, version in running), *await self._artifacts(now)]
        needed = await self._references.needed(certain, used)
        await self._references.add_companions(needed, manifests)
        self._references.forget_all_but({*manifests, *certain, *used})
        # Their manifests may be gone; their images are still in the engine that runs them.
        needed.images.update(version for _, version in running)
        needed.models.update(model for model, _ in living | running)
        return needed

    async def _artifacts(self, now: int) -> set[str]:
        """Weights and the like that a tag points to: those of models that there are, and those that came lately.

        An index that was a version goes with it, and a weight some time after the next one of its name.
        """
        versions = await self._census.ever()
        tagged = [
            each
            for each in await self._repositories.tagged_manifests()
            if each.digest.partition(":")[2] not in versions
        ]
        artifacts = await self._references.artifacts({each.digest for each in tagged})
        since = now - policy.ARTIFACT_SECONDS * policy.SECOND
        superseded = policy.superseded(tagged, since)
        return {
            each.digest
            for each in tagged
            if each.digest in artifacts
            and (each.repository, each.tag) not in superseded
            and (each.at >= since or await self._has_model(each.repository))
        }

    async def _has_model(self, repository: str) -> bool:
        owner, _, name = repository.partition("/")
        return await self._models.get(owner, name) is not None

    async def _unneeded(self, run: Run, needed: Needed, since: float) -> None:
        await self._forget_origins(run, needed)
        layers, manifests = await self._images()
        for dead in policy.unneeded(manifests, needed, run.now):
            # What such an image names may go at any time, so it must not be pulled any more.
            await self._take(run, _item(dead, "its version was deleted"), dead, since)
        things = [*layers, *await asyncio.to_thread(lambda: list(self._stored()))]
        unused = await asyncio.to_thread(_measured, policy.unneeded(things, needed, run.now))
        limit = run.policy.keep_unused
        for thing in policy.over_limit(unused, limit.bytes):
            item = _item(thing, policy.why_unused(thing.used_at, run.now, limit))
            await self._take(run, item, thing, since)

    async def _forget_origins(self, run: Run, needed: Needed) -> None:
        """Layers in other registries that no image here names take no room, only rows."""
        if not run.dry_run:
            await self._repositories.forget_origins(needed.images, run.now - policy.GRACE_SECONDS * policy.SECOND)

    async def _images(self) -> tuple[list[Thing], list[Thing]]:
        """The registry's blobs: layers and configurations, and manifests."""
        manifests = {digest.partition(":")[2] for digest in await self._repositories.manifests()}
        groups: tuple[list[Thing], list[Thing]] = ([], [])
        for blob in await self._blobs.list(_IMAGES):
            digest = blob.key.rpartition("/")[2]
            is_manifest = digest in manifests
            thing = Thing(
                kind="images" if is_manifest else "layers",
                name=f"sha256:{digest[:12]}",
                place=blob.key,
                needed_as=digest,
                used_at=blob.modified,
                bytes=blob.size,
            )
            groups[is_manifest].append(thing)
        return groups

    def _stored(self) -> Iterator[Thing]:
        for kept in inventory.look(self._places.store):
            if kept.kind in ("environments", "sources", "layers"):
                kind = "weights" if kept.kind == "layers" else kept.kind
                name = kept.path.name[:12]
                yield Thing(kind=kind, name=name, place=kept.path, needed_as=kept.key, used_at=kept.used_at)
        for folder in _folders(self._places.caches):
            yield Thing(
                kind="caches", name=folder.name, place=folder, needed_as=folder.name, used_at=_touched_at(folder)
            )

    async def _in_engine(self, run: Run, needed: Needed) -> None:
        """Images of versions that were deleted, in the engine that made containers of them."""
        if self._engine_images is None:
            return
        since = asyncio.get_running_loop().time() - _PULL_SECONDS
        try:
            kept = [each for each in await self._engine_images.kept() if each.version not in needed.images]
            for image in kept:
                await self._take_from_engine(run, self._engine_images, image, since)
        except EngineError as error:
            run.report.fail(_IN_ENGINE, "images of deleted versions", str(error))

    async def _take_from_engine(self, run: Run, images: Images, image: KeptImage, since: float) -> None:
        name = f"{image.repository}:{image.version[:12]}"
        item = Item(kind=_IN_ENGINE, name=name, bytes=image.unique, why="its version was deleted")
        key = f"{_IMAGES}/{image.version}"
        if not self._may_take(run, item, key, since):
            return
        try:
            await images.drop(image)
        except EngineError as error:
            run.report.fail(_IN_ENGINE, name, str(error))
        else:
            run.report.add(item)
        finally:
            self._uses.gone(key)

    async def _take(self, run: Run, item: Item, thing: Thing, since: float) -> None:
        """Remove one thing that nobody needs, unless somebody began to use it."""
        key = _use_key(thing)
        if not self._may_take(run, item, key, since):
            return
        aside = None
        try:
            if isinstance(thing.place, str):
                await self._repositories.forget(f"sha256:{thing.needed_as}")
                await self._blobs.delete(thing.place)
            else:
                aside = await asyncio.to_thread(trash.set_aside, thing.place)
        except OSError as error:
            run.report.fail(item.kind, item.name, _said(error))
            return
        finally:
            self._uses.gone(key)
        await self._delete(run, item, aside)

    def _may_take(self, run: Run, item: Item, key: str, since: float) -> bool:
        """Not what somebody began to use; of a dry run nothing, and what would go is reported."""
        if not run.dry_run:
            return self._uses.take(key, since)
        if not self._uses.used(key, since):
            run.report.add(item)
        return False

    # -- what is old

    async def _aged(self, run: Run) -> None:
        now = run.now
        day, hour = (now - seconds * policy.SECOND for seconds in (policy.GRACE_SECONDS, policy.SCRATCH_SECONDS))
        logs = run.policy.keep_logs
        kept = await asyncio.to_thread(lambda: list(inventory.look(self._places.store)))
        leftovers = [_leftover(each) for each in kept if each.kind == "leftovers"]
        copies = [_leftover(each) for each in kept if each.kind == "copies"]
        dead = await asyncio.to_thread(self._dead_instances)
        backups = await asyncio.to_thread(lambda: list(_backups(self._places.backups)))
        old = policy.older(dead, logs.before(now))
        scratch = [part for thing in dead if thing not in old for part in _scratch(thing)]
        groups: list[tuple[list[Thing], str]] = [
            (policy.older(leftovers, day), "somebody was ended while it was made"),
            (policy.older(copies, hour), "its instance is gone"),
            (old, f"its instance is gone; keep_logs is {logs}"),
            (policy.older(scratch, hour), "its instance is gone"),
            (policy.beyond_newest(backups, run.policy.keep_backups), f"keep_backups is {run.policy.keep_backups}"),
        ]
        for things, why in groups:
            for thing in await asyncio.to_thread(_measured, things):
                await self._take_old(run, _item(thing, why), thing)

    def _dead_instances(self) -> list[Thing]:
        return [
            Thing(
                kind="instances",
                name=folder.name,
                place=folder,
                needed_as=folder.name,
                used_at=max(_touched_at(folder), _touched_at(folder / "instance.log")),
            )
            for folder in _folders(self._places.instances)
        ]

    async def _take_old(self, run: Run, item: Item, thing: Thing) -> None:
        if thing.needed_as in {instance.id for instance in self._machine.observe().instances}:
            return
        if run.dry_run:
            run.report.add(item)
            return
        try:
            beside = self._places.instances / thing.needed_as if thing.kind == "scratch" else None
            aside = await asyncio.to_thread(trash.set_aside, Path(thing.place), beside)
        except FileNotFoundError:
            return
        except OSError as error:
            run.report.fail(item.kind, item.name, _said(error))
            return
        await self._delete(run, item, aside)

    async def _uploads_given_up(self, run: Run) -> None:
        now = run.now / policy.SECOND
        before, empty_before = now - policy.ABANDONED_SECONDS, now - policy.EMPTY_SECONDS
        for upload, size in (await asyncio.to_thread(self._uploads.abandoned, before, empty_before)).items():
            why = "nobody sent more of it for a week" if size else "nobody sent any of it for an hour"
            item = Item(kind="uploads", name=upload, bytes=size, why=why)
            if run.dry_run:
                run.report.add(item)
                continue
            try:
                aside = self._uploads.give_up(upload, size, trash.set_aside)
            except OSError as error:
                run.report.fail(item.kind, item.name, _said(error))
                continue
            if aside is not None:
                await self._delete(run, item, aside)

    async def _delete(self, run: Run, item: Item, aside: Path | None) -> None:
        """It is out of the way; now its bytes."""
        try:
            if aside is not None:
                await asyncio.to_thread(trash.delete, aside, self._stopped.is_set)
        except OSError as error:
            run.report.fail(item.kind, item.name, f"it is in the trash and cannot be deleted there: {_said(error)}")
        else:
            run.report.add(item)


def _item(thing: Thing, why: str) -> Item:
    return Item(kind=thing.kind, name=thing.name, bytes=thing.bytes, why=why)


def _leftover(kept: inventory.Kept) -> Thing:
    return Thing(kind="leftovers", name=kept.path.name, place=kept.path, needed_as=kept.key, used_at=kept.used_at)


def _scratch(instance: Thing) -> Iterator[Thing]:
    for name in _SCRATCH:
        folder = Path(instance.place, name)
        if folder.exists():
            yield dataclasses.replace(instance, kind="scratch", name=f"{instance.name}/{name}", place=folder)


def _backups(folder: Path) -> Iterator[Thing]:
    for path in _visible(folder):
        if path.is_file() and not path.is_symlink():
            yield Thing(kind="backups", name=path.name, place=path, needed_as="", used_at=_touched_at(path))


def _use_key(thing: Thing) -> str:
    if isinstance(thing.place, str):
        return thing.place
    kind = "layers" if thing.kind == "weights" else thing.kind
    return inventory.use_key(kind, thing.needed_as)


def _measured(things: Iterable[Thing]) -> list[Thing]:
    counted: set[tuple[int, int]] = set()
    return [
        thing if isinstance(thing.place, str) else dataclasses.replace(thing, bytes=trash.size_of(thing.place, counted))
        for thing in things
    ]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_symlink() or path.is_dir()]


def _touched_at(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns // 1000
    except OSError:
        return 0


def _said(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else f"{error.strerror or error}"
