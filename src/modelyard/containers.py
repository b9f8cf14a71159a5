"""Versions made ready for an engine with containers: their images brought to it, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.engines.base import Image, Images
from modelyard.oci import labels
from modelyard.oci.manifest import Config, Manifest, blob_key, parse_config
from modelyard.uses import Uses


class NoContainerError(errors.Invalid):
    """The version's image is not one that a container can be made of."""

    code = "version_not_runnable"
    title = "The version cannot be run here"


@dataclass(frozen=True, slots=True, kw_only=True)
class InContainer:
    """The place of one instance: what it needs is in its image."""

    image: Image
    python: Path = Path("python")
    source: Path = Path("/src")
    folders: tuple[tuple[Path, str], ...] = ()
    # The image is not to be taken away: housekeeping removes it when its version is no more.
    release: Callable[[], None] = lambda: None


class Containers:
    """Prepares versions. `uses` is told of the blobs that are about to be pulled."""

    def __init__(self, images: Images, blobs: Blobs, uses: Uses) -> None:
        self.images = images
        self._blobs = blobs
        self._uses = uses

    async def prepare(
        self, repository: str, version: str, manifest: Manifest, report: Callable[[str], None]
    ) -> InContainer:
        """Have the image of a version where its container will be. Raises NoContainerError, EngineError."""
        digest = f"sha256:{version}"
        await self._uses.using(
            *map(blob_key, (digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)))
        )
        config = parse_config(await read(self._blobs, blob_key(manifest.config.digest)))
        speaks_link = _speaks_link(config)
        reference = await self.images.bring(repository, digest, manifest.config.digest, report)
        return InContainer(
            image=Image(reference=reference, speaks_link=speaks_link, folder=config.working_dir or "/src")
        )


def _speaks_link(config: Config) -> bool:
    try:
        labels.check_base(config.labels, labels.NOT_HERE)
    except labels.NoBaseError as error:
        hint = f"{error.hint}, or run the yard with MODELYARD_ENGINE=process."
        raise NoContainerError(error.detail, hint=hint) from None
    return labels.BOX in config.labels
