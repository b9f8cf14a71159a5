"""Layers that a yard knows and has not: housekeeping and the look at the store treat them as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House

from modelyard.db.base import Database
from modelyard.oci import manifest
from modelyard.oci.manifest import Descriptor, Manifest
from modelyard.registry.origins import Origin, Origins
from modelyard.registry.repositories import StoredManifest
from modelyard.upkeep import Check, Wish

pytestmark = pytest.mark.anyio

AWAY = Descriptor(media_type=manifest.LAYER_GZIP, digest="sha256:" + "a" * 64, size=5000)
LOOSE = "sha256:" + "b" * 64


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    return House(db, tmp_path)


async def version(house: House) -> tuple[Origins, str]:
    """A version on a layer that is elsewhere, and another such layer that no image names."""
    model = await house.model()
    origins = Origins(house.db, house.clock, None)
    for digest, size in ((AWAY.digest, AWAY.size), (LOOSE, 1)):
        await origins.add(model.full_name, digest, Origin("r.example/base", size))
    data = manifest.render_config(manifest.Config(labels={}))
    config = Descriptor(media_type=manifest.CONFIG, digest=manifest.digest_of(data), size=len(data))
    image = manifest.render(Manifest(config=config, layers=(AWAY,)))
    for content in (data, image):
        await house.blobs.put(manifest.blob_key(manifest.digest_of(content)), content)
    await house.repositories.add_blob(model.full_name, config.digest, config.size)
    digest = manifest.digest_of(image)
    stored = StoredManifest(
        digest=digest, media_type=manifest.MANIFEST, size=len(image), blob_key=manifest.blob_key(digest)
    )
    await house.repositories.add_manifest(model.full_name, stored, "latest")
    await house.models.add_version(model.id, digest[7:], {}, {}, "0.1")
    return origins, digest


async def test_what_a_version_needs_stays_known_and_what_none_needs_is_forgotten_after_a_day(house: House) -> None:
    origins, digest = await version(house)
    await house.keeper().prune(Wish())
    assert await origins.find("ada/hello", LOOSE) is not None
    house.later(2)
    await house.keeper().prune(Wish(dry_run=True))
    assert await origins.find("ada/hello", LOOSE) is not None
    await house.keeper().prune(Wish())
    assert await origins.find("ada/hello", LOOSE) is None
    assert await origins.find("ada/hello", AWAY.digest) == Origin("r.example/base", AWAY.size)
    await house.models.delete_version(await house.model(), digest[7:])
    await house.keeper().prune(Wish())
    assert await origins.find("ada/hello", AWAY.digest) is None


async def test_a_layer_that_is_elsewhere_is_no_fault_unless_its_size_is_another(house: House) -> None:
    origins, _ = await version(house)
    checked = await house.keeper().check(Check(deep=True))
    assert checked.findings == []
    assert checked.counts["elsewhere"] == 2
    await origins.add("ada/hello", AWAY.digest, Origin("r.example/base", AWAY.size + 1))
    (finding,) = (await house.keeper().check(Check())).findings
    assert (finding.kind, finding.problem) == ("layer", "its bytes are missing")


async def test_what_came_and_was_lost_is_no_fault_and_what_is_here_is_counted_no_more(house: House) -> None:
    origins, _ = await version(house)
    found = Origin("r.example/base", AWAY.size)
    await origins.came(AWAY.digest, found)
    assert await house.repositories.blob_size("ada/hello", AWAY.digest) == AWAY.size
    assert (await house.keeper().check(Check())).findings == []
    await house.blobs.put(manifest.blob_key(AWAY.digest), b"x" * AWAY.size)
    assert (await house.keeper().check(Check())).counts["elsewhere"] == 1
