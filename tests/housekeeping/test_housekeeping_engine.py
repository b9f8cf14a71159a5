"""Images in the engine of containers: those of deleted versions go, the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from house import House

from modelyard.db.base import Database
from modelyard.engines.base import EngineError, KeptImage
from modelyard.oci.manifest import blob_key
from modelyard.upkeep import Wish

pytestmark = pytest.mark.anyio


class Engine:
    """What an engine has. `refuses`: images that something there needs."""

    def __init__(self, *versions: str) -> None:
        self.images = [
            KeptImage(reference=f"r/ada/hello@sha256:{each}", repository="ada/hello", version=each, bytes=9, unique=4)
            for each in versions
        ]
        self.refuses: set[str] = set()
        self.away = False

    async def bring(self, repository: str, digest: str, config: str, report: Callable[[str], None]) -> str:
        raise AssertionError("nothing is brought here")

    async def kept(self) -> list[KeptImage]:
        if self.away:
            raise EngineError("the Docker Engine does not answer")
        return list(self.images)

    async def drop(self, image: KeptImage) -> None:
        if image.version in self.refuses:
            raise EngineError("a container needs it")
        self.images.remove(image)


@pytest.fixture
def house(sqlite_db: Database, tmp_path: Path) -> House:
    return House(sqlite_db, tmp_path)


async def versions(house: House) -> tuple[str, str]:
    """One that there is, and one that was deleted."""
    model = await house.model()
    kept, gone = await house.version(model, b"kept"), await house.version(model, b"gone")
    await house.models.delete_version(model, gone)
    return kept, gone


async def test_the_image_of_a_deleted_version_goes_and_others_stay(house: House) -> None:
    kept, gone = await versions(house)
    house.engine = engine = Engine(kept, gone)
    tried = await house.keeper().prune(Wish(dry_run=True))
    assert [item.name for item in tried.items if item.kind == "engine images"] == [f"ada/hello:{gone[:12]}"]
    assert len(engine.images) == 2
    report = await house.keeper().prune(Wish())
    assert [each.version for each in engine.images] == [kept]
    assert report.totals["engine images"].bytes == 4


async def test_what_is_about_to_run_or_runs_stays(house: House) -> None:
    _, gone = await versions(house)
    house.engine = engine = Engine(gone)
    await house.relied_on.using(blob_key(f"sha256:{gone}"))
    await house.keeper().prune(Wish())
    assert len(engine.images) == 1
    running = "a" * 64
    engine.images[:] = Engine(running).images
    house.lives("i", version_id=running)
    await house.keeper().prune(Wish())
    assert len(engine.images) == 1
    house.alive.clear()
    await house.keeper().prune(Wish())
    assert engine.images == []


async def test_an_engine_that_is_away_or_refuses_is_told_and_the_rest_is_cleaned(house: House) -> None:
    _, gone = await versions(house)
    house.engine = engine = Engine(gone)
    engine.refuses.add(gone)
    report = await house.keeper().prune(Wish())
    assert [(each.kind, each.problem) for each in report.failures] == [("engine images", "a container needs it")]
    engine.away = True
    house.instance("old")
    house.later(30)
    report = await house.keeper().prune(Wish())
    assert "the Docker Engine does not answer" in [each.problem for each in report.failures]
    assert report.totals["instances"].count == 1


async def test_what_the_engine_has_is_listed_with_whether_it_is_needed(house: House) -> None:
    kept, gone = await versions(house)
    house.engine = engine = Engine(kept, gone)
    found = (await house.keeper().holdings()).in_engine
    assert {each.id: each.needed for each in found} == {kept: True, gone: False}
    assert {(each.bytes, each.unique) for each in found} == {(9, 4)}
    engine.away = True
    assert (await house.keeper().holdings()).in_engine == ()
