"""From a version to what its instances need: its manifest read, made ready on this host, hardware and bounds chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.containers import Containers, InContainer
from modelyard.models.record import Model, Version
from modelyard.models.service import Models
from modelyard.oci import managed
from modelyard.oci.kinds import image_in
from modelyard.oci.managed import Weight
from modelyard.oci.manifest import IMAGE_TYPES, Descriptor, Index, Manifest, blob_key, parse
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.instance import Key
from modelyard.scheduler.placement import Hardware
from modelyard.scheduler.pool import Blueprint, Workplace
from modelyard.secrets import ModelSecrets
from modelyard.store.inventory import use_key
from modelyard.store.versions import Store
from modelyard.uses import Uses


class Workplaces:
    """Describes pools. `manifest_of(model, version)` reads the version's manifest from the registry's blobs."""

    def __init__(
        self,
        *,
        models: Models,
        secrets: ModelSecrets,
        store: Store,
        catalogue: Mapping[str, Hardware],
        caches: Path,
        bounds: Bounds,
        setup_timeout_seconds: float,
        reconnect_seconds: float,
        private_urls: bool,
        blobs: Blobs,
        uses: Uses | None = None,
        containers: Containers | None = None,
    ) -> None:
        self._models = models
        self._secrets = secrets
        self._store = store
        self._catalogue = catalogue
        self._caches = caches
        self._bounds = bounds
        self._setup_timeout_seconds = setup_timeout_seconds
        self._reconnect_seconds = reconnect_seconds
        self._private_urls = private_urls
        self._blobs = blobs
        self._uses = uses or Uses(0.0)
        self._containers = containers

    async def describe(self, key: Key) -> Blueprint:
        """What its instances need. Raises NotFound when it is gone, Invalid for hardware that is not here."""
        model = await self._models.get_by_id(key[0])
        version = None if model is None else await self._models.version(key[1], model)
        if model is None or version is None:
            raise errors.NotFound("The version was deleted before it could run.")
        manifest, weights = await self._image(version)

        async def prepare(instance: str, report: Callable[[str], None]) -> Workplace:
            await self._uses.using(use_key("caches", model.id))
            if self._containers is not None:
                place = await self._containers.prepare(model.full_name, version.id, manifest, report)
                return await self._with_weights(place, weights, instance, report)
            return await self._store.materialise(manifest, instance, report, weights)

        return Blueprint(
            hardware=self._hardware(model, version.config),
            ref=_ref(version),
            cache=self._caches / model.id,
            prepare=prepare,
            bounds=self._bounds,
            environment=version.environment,
            secrets=partial(self._secrets.give, model.id),
            concurrency=_concurrency(version),
            setup_timeout_seconds=version.timeouts.setup_within(self._setup_timeout_seconds),
            reconnect_seconds=self._reconnect_seconds,
            private_urls=self._private_urls,
        )

    def adopt(self, instance: str) -> Workplace | None:
        """The workplace of an instance that an earlier life of this yard started."""
        return self._store.adopt(instance)

    def sweep(self, alive: Set[str]) -> None:
        """Take away the workplaces of instances that an earlier life of this yard left and that are no more."""
        self._store.sweep(alive)

    async def _with_weights(
        self, place: InContainer, weights: Sequence[Weight], instance: str, report: Callable[[str], None]
    ) -> InContainer:
        if not weights:
            return place
        folders = await self._store.show(weights, instance, report)
        return replace(place, folders=folders, release=partial(self._store.forget, instance))

    async def _image(self, version: Version) -> tuple[Manifest, tuple[Weight, ...]]:
        """The image of a version; and, where it came as a bundle, the weights that were beside the image."""
        found = await self._parsed(f"sha256:{version.id}")
        weights: tuple[Weight, ...] = ()
        if isinstance(found, Index):
            part = image_in(found)
            beside = [each for each in found.manifests if each is not part and each.media_type in IMAGE_TYPES]
            weights = tuple([weight for each in beside for weight in await self._weights(each)])
            found = found if part is None else await self._parsed(part.digest)
        if not isinstance(found, Manifest):
            raise errors.Invalid(f"Version {version.id[:12]} is an index without an image that could be run here.")
        return found, weights

    async def _weights(self, beside: Descriptor) -> list[Weight]:
        """The weight that a manifest beside an image is, if it is one."""
        found = await self._parsed(beside.digest)
        if not isinstance(found, Manifest) or found.artifact_type != managed.ARTIFACT:
            return []
        return [managed.of_artifact(found, await read(self._blobs, blob_key(found.config.digest)))]

    async def _parsed(self, digest: str) -> Manifest | Index:
        return parse(await read(self._blobs, blob_key(digest)))

    def _hardware(self, model: Model, config: Mapping[str, Any]) -> Hardware:
        build = config.get("build") or {}
        sku = "gpu" if build.get("gpu") and not model.hardware.startswith("gpu") else model.hardware
        hardware = self._catalogue.get(sku)
        if hardware is None:
            offered = ", ".join(self._catalogue)
            raise errors.Invalid(f"{model.full_name} runs on hardware {sku!r}; this host offers {offered}.")
        return hardware


def _concurrency(version: Version) -> int | None:
    """How many predictions at once. 1 is also what a version says that says nothing: then its own code may know better;
    what Cog built has it in its cog.yaml alone."""
    said = version.config.get("concurrency")
    most = said.get("max") if isinstance(said, dict) else None
    found = max(version.concurrency, most if isinstance(most, int) else 1)
    return found if found > 1 else None


def _ref(version: Version) -> str:
    # Cog's label says `predict` also where the file says `run`.
    return str(version.config.get("predict") or version.config.get("run") or "")
