"""What lies on the disk and is needed no more: images, environments, sources, caches, logs, leftovers, backups."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from house import DAY, INSTANCES, House, cannot_be_changed

from modelyard import amounts
from modelyard.db.base import Database, Statement
from modelyard.housekeeping import trash
from modelyard.housekeeping.trash import TRASH
from modelyard.oci import manifest
from modelyard.predictions.record import Status
from modelyard.registry.problems import UploadUnknownError
from modelyard.registry.repositories import StoredManifest
from modelyard.store.inventory import use_key
from modelyard.upkeep import Wish

pytestmark = pytest.mark.anyio

OLD, NEW, SHARED = b"o" * 5000, b"n" * 6000, b"s" * 7000
NOTHING = Wish(unused=amounts.size("0"))


@pytest.fixture
def house(sqlite_db: Database, tmp_path: Path) -> House:
    return House(sqlite_db, tmp_path)


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def begun(house: House, data: bytes, days: float) -> str:
    """An upload that nobody went on with for so many days."""
    upload = house.uploads.begin("ada/hello")
    if data:
        await house.uploads.append("ada/hello", upload, pieces_of(data))
    old = house.clock() / 1e6 - days * DAY
    os.utime(house.folder / "uploads" / f"{upload}.part", (old, old))
    return upload


@pytest.fixture
def anywhere(db: Database, tmp_path: Path) -> House:
    """On each database in turn, where rows decide."""
    return House(db, tmp_path)


async def test_what_versions_need_stays_and_what_none_needs_goes(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    gone = await house.version(model, OLD, lock="a==1")
    kept = await house.version(model, NEW, lock="b==1")
    environments = {lock: house.environment(lock) for lock in ("a==1", "b==1")}
    sources = {each: house.folder / "store" / "sources" / each for each in (gone, kept)}
    for source in sources.values():
        source.mkdir()
        (source / "run.py").write_text("x" * 300)
    await house.models.delete_version(model, gone)
    house.later(2)

    report = await house.keeper().prune(NOTHING)

    assert not house.has_layer(OLD)
    assert house.has_layer(NEW)
    assert [path.exists() for path in environments.values()] == [False, True]
    assert [path.exists() for path in sources.values()] == [False, True]
    assert {kind: total.count for kind, total in report.totals.items()} == {
        "layers": 3,
        "environments": 1,
        "sources": 1,
    }
    assert await house.repositories.manifest(model.full_name, f"sha256:{gone}") is None
    tagged = await house.repositories.tagged(model.full_name, "latest")
    assert tagged is not None
    assert tagged.digest == f"sha256:{kept}"
    assert await house.repositories.missing(model.full_name, [manifest.digest_of(OLD)])
    assert not (await house.keeper().prune(NOTHING)).count


async def test_a_dry_run_names_the_same_and_touches_nothing(house: House) -> None:
    model = await house.model()
    await house.models.delete_version(model, await house.version(model, OLD, lock="a==1"))
    environment = house.environment("a==1")
    house.instance("gone")
    house.later(30)
    keeper = house.keeper()

    told = await keeper.prune(Wish(dry_run=True, unused=amounts.size("0")))

    assert house.has_layer(OLD)
    assert environment.exists()
    report = await keeper.prune(NOTHING)
    assert report.items == told.items
    assert {item.kind for item in told.items} == {"layers", "environments", "instances"}
    assert all(item.why for item in told.items)


async def test_a_layer_that_another_version_needs_stays(house: House) -> None:
    one, other = await house.model("one"), await house.model("other")
    gone = await house.version(one, SHARED, lock="a==1")
    await house.version(other, SHARED, lock="c==1")
    await house.models.delete_version(one, gone)
    house.later(2)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(SHARED)


async def test_a_version_deleted_and_pushed_again_is_whole(house: House) -> None:
    model = await house.model()
    version = await house.version(model, OLD)
    await house.models.delete_version(model, version)
    await house.version(model, OLD)
    house.later(2)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(OLD)
    assert await house.repositories.manifest(model.full_name, f"sha256:{version}")


@pytest.mark.parametrize("kind", manifest.INDEX_TYPES)
async def test_the_images_of_an_index_stay_with_it(house: House, kind: str) -> None:
    model = await house.model()
    version = await house.version(model, OLD)
    child = {"mediaType": manifest.MANIFEST, "digest": f"sha256:{version}", "size": 1}
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode()
    digest = manifest.digest_of(index)
    await house.blobs.put(manifest.blob_key(digest), index)
    stored = StoredManifest(digest=digest, media_type=kind, size=len(index), blob_key=manifest.blob_key(digest))
    await house.repositories.add_manifest(model.full_name, stored, "all")
    await house.models.delete_version(model, version)
    house.later(2)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(OLD)


async def test_weights_stay_while_their_model_does(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    digest = await house.weights(model.full_name, OLD)
    house.later(300)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(OLD)
    assert await house.repositories.manifest(model.full_name, digest)
    await house.models.delete(model)
    await house.keeper().prune(NOTHING)
    assert not house.has_layer(OLD)
    assert await house.repositories.manifest(model.full_name, digest) is None


async def test_weights_go_a_month_after_the_next_of_their_name_unless_a_version_needs_them(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    first, used = await house.weights(model.full_name, OLD), b"u" * 900
    await house.weights(model.full_name, used)
    await house.version(model, used)
    house.later(5)
    second = await house.weights(model.full_name, b"n" * 900)
    house.later(20)
    await house.keeper().prune(NOTHING)
    assert house.has_layer(OLD)

    house.later(20)
    await house.keeper().prune(NOTHING)

    assert not house.has_layer(OLD)
    assert await house.repositories.manifest(model.full_name, first) is None
    assert house.has_layer(used)
    assert house.has_layer(b"n" * 900)
    assert await house.repositories.manifest(model.full_name, second)
    house.later(300)
    await house.keeper().prune(NOTHING)
    assert house.has_layer(b"n" * 900)


async def test_weights_may_come_long_before_their_model(house: House) -> None:
    digest = await house.weights("ada/later", OLD)
    house.later(20)
    await house.keeper().prune(NOTHING)
    assert house.has_layer(OLD)
    assert await house.repositories.manifest("ada/later", digest)
    house.later(20)
    await house.keeper().prune(NOTHING)
    assert not house.has_layer(OLD)


async def test_what_runs_keeps_its_version_though_that_is_deleted(house: House) -> None:
    model = await house.model()
    version = await house.version(model, OLD, lock="a==1")
    environment, cache = house.environment("a==1"), house.folder / "caches" / model.id
    cache.mkdir()
    house.lives("i", model.id, version)
    await house.models.delete_version(model, version)
    house.later(2)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(OLD)
    assert environment.exists()
    assert cache.exists()
    house.alive.clear()
    await house.keeper().prune(NOTHING)
    assert not house.has_layer(OLD)
    assert not environment.exists()
    assert not cache.exists()


async def test_what_waits_keeps_its_version_though_that_is_deleted(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    version = await house.version(model, OLD)
    await house.models.delete_version(model, version)
    await house.prediction(status=Status.STARTING, content=None, model_id=model.id, version_id=version)
    house.later(2)

    await house.keeper().prune(NOTHING)

    assert house.has_layer(OLD)


async def test_layers_of_a_push_whose_manifest_is_on_its_way_stay(house: House) -> None:
    digest = manifest.digest_of(NEW)
    await house.blobs.put(manifest.blob_key(digest), NEW)
    await house.repositories.add_blob("ada/new", digest, len(NEW))

    assert not (await house.keeper().prune(NOTHING)).count

    house.later(2)
    assert (await house.keeper().prune(NOTHING)).count == 1


async def test_an_old_layer_that_a_push_was_told_is_here_stays(house: House) -> None:
    digest = manifest.digest_of(OLD)
    await house.blobs.put(manifest.blob_key(digest), OLD)
    house.later(2)

    await house.relied_on.using(manifest.blob_key(digest))
    told = await house.keeper().prune(Wish(dry_run=True, unused=amounts.size("0")))

    assert not told.count
    assert not (await house.keeper().prune(NOTHING)).count
    assert house.has_layer(OLD)


async def test_an_environment_that_an_instance_is_about_to_have_stays(house: House) -> None:
    environment = house.environment("a==1")
    house.later(2)

    await house.relied_on.using(use_key("environments", environment_key("a==1")))

    assert not (await house.keeper().prune(NOTHING)).count
    assert environment.exists()


def environment_key(lock: str) -> str:
    from modelyard.store.inventory import lock_key

    return lock_key(lock)


async def test_within_the_limit_all_stays_and_beyond_it_the_longest_unused_goes_first(house: House) -> None:
    folders = [house.environment(f"{name}==1") for name in "abc"]
    for age, folder in zip((9, 3, 6), folders, strict=True):
        at = house.clock() / 1e6 - age * DAY
        os.utime(folder, (at, at))
    size = trash.size_of(folders[0], set())

    assert not (await house.keeper(keep_unused=f"{3 * size}B").prune(Wish())).count
    report = await house.keeper(keep_unused=f"{2 * size}B").prune(Wish())

    assert [folder.exists() for folder in folders] == [False, True, True]
    assert report.bytes == size
    assert report.items[0].why.startswith("nothing refers to it, not used for 9 days; ")
    await house.keeper(keep_unused=f"{size}B").prune(Wish())
    assert [folder.exists() for folder in folders] == [False, True, False]


async def test_a_version_that_cannot_be_read_keeps_everything_and_is_named(house: House) -> None:
    model = await house.model()
    version = await house.version(model, NEW)
    environment = house.environment("a==1")
    old = await house.prediction()
    await house.blobs.delete(manifest.blob_key(f"sha256:{version}"))
    house.later(31)

    report = await house.keeper().prune(NOTHING)

    assert environment.exists()
    assert house.has_layer(NEW)
    assert f"sha256:{version[:12]}" in report.failures[0].problem
    assert not await house.has_output(old)


async def test_links_in_the_store_are_not_followed(house: House, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    environment = house.environment("a==1")
    (environment / "out").symlink_to(precious)
    linked = house.folder / "store" / "sources" / ("f" * 64)
    linked.symlink_to(precious)
    strange = house.folder / "store" / "environments" / "mine"
    strange.symlink_to(precious)
    (house.folder / "caches" / "model").symlink_to(precious)
    house.later(2)

    report = await house.keeper().prune(NOTHING)

    assert (precious / "thesis.txt").read_text() == "years of work"
    assert not environment.exists()
    assert not linked.is_symlink()
    # A name that the store would not give is somebody else's.
    assert strange.is_symlink()
    assert report.count == 3


async def test_a_folder_that_cannot_be_removed_is_said_and_the_others_go(house: House) -> None:
    stuck, other = house.environment("a==1"), house.environment("b==1")
    house.later(2)

    with cannot_be_changed(stuck):
        report = await house.keeper().prune(NOTHING)

    assert stuck.exists()
    assert not other.exists()
    assert [(each.kind, each.name) for each in report.failures] == [("environments", stuck.name[:12])]
    assert str(stuck) in report.failures[0].problem
    assert (await house.keeper().prune(NOTHING)).count == 1


async def test_what_is_stuck_deep_in_a_folder_is_out_of_the_way_and_tried_again(house: House) -> None:
    environment = house.environment("a==1")
    house.later(2)

    with cannot_be_changed(environment / "bin"):
        report = await house.keeper().prune(NOTHING)
        assert not environment.exists()
        assert "in the trash" in report.failures[0].problem
        again = await house.keeper().prune(Wish())
        assert [each.kind for each in again.failures] == ["leftovers"]

    assert not (await house.keeper().prune(Wish())).failures
    assert not list((environment.parent / TRASH).iterdir())


async def test_folders_that_are_read_only_go_all_the_same(house: House) -> None:
    environment = house.environment("a==1")
    (environment / "bin").chmod(0o555)
    environment.chmod(0o555)
    house.later(2)

    assert not (await house.keeper().prune(NOTHING)).failures
    assert not environment.exists()


async def test_the_logs_of_instances_go_by_age_and_their_scratch_before(anywhere: House) -> None:
    house = anywhere
    gone, lives = house.instance("gone"), house.instance("lives")
    house.lives("lives")
    add = Statement(
        "add",
        "INSERT INTO instances (id, node, pool, model_id, version_id, engine, state, token_hash, hardware,"
        " memory_bytes, cpus, gpus, concurrency, created_at, stopped_at)"
        " VALUES (:id, 'n', 'p', 'm', 'v', 'e', :state, 't', 'cpu', 0, 1.0, '[]', 1, 1, :at)",
    )
    await house.db.run(add, {"id": "gone", "state": "stopped", "at": house.clock()})
    await house.db.run(add, {"id": "lives", "state": "idle", "at": None})
    house.later(0.5)

    report = await house.keeper().prune(Wish())

    assert [item.name for item in report.items] == ["gone/tmp"]
    assert (gone / "instance.log").exists()
    assert not (gone / "tmp").exists()
    assert (lives / "tmp" / "big").exists()
    house.later(8)
    await house.keeper().prune(Wish())
    assert not gone.exists()
    assert lives.exists()
    assert [row["id"] for row in await house.db.all(INSTANCES)] == ["lives"]


async def test_what_was_left_half_made_goes_after_a_day(house: House) -> None:
    store = house.folder / "store"
    paths = [store / "environments" / "e.partial", store / "sources" / "s.1.partial", store / "instances" / "i"]
    for path in paths:
        (path / "deep").mkdir(parents=True)
    incoming = store / "incoming" / "layer.1"
    incoming.parent.mkdir()
    incoming.write_bytes(b"half")

    assert not (await house.keeper().prune(NOTHING)).count
    house.later(2)
    assert {item.kind for item in (await house.keeper().prune(NOTHING)).items} == {"leftovers"}
    assert not [path for path in (*paths, incoming) if path.exists()]


async def test_uploads_that_nobody_goes_on_with_are_given_up(house: House) -> None:
    given_up, fresh = [await begun(house, b"some", days) for days in (8, 6)]

    report = await house.keeper().prune(Wish())

    assert [(item.name, item.bytes) for item in report.items] == [(given_up, 4)]
    with pytest.raises(UploadUnknownError):
        house.uploads.size("ada/hello", given_up)
    assert house.uploads.size("ada/hello", fresh) == 4


async def test_an_upload_that_never_had_a_byte_is_given_up_after_an_hour(house: House) -> None:
    refused, fresh, sent = [await begun(house, *of) for of in ((b"", 2 / 24), (b"", 0.5 / 24), (b"x", 2 / 24))]
    asked = await house.keeper().prune(Wish(dry_run=True))

    report = await house.keeper().prune(Wish())

    assert [item.name for item in report.items] == [item.name for item in asked.items] == [refused]
    assert "hour" in report.items[0].why
    with pytest.raises(UploadUnknownError):
        house.uploads.size("ada/hello", refused)
    assert [house.uploads.size("ada/hello", each) for each in (fresh, sent)] == [0, 1]


async def test_an_upload_whose_first_byte_comes_as_it_is_given_up_stays(house: House) -> None:
    upload = await begun(house, b"", 1)
    seen = house.uploads.abandoned(house.clock() / 1e6, house.clock() / 1e6)
    await house.uploads.append("ada/hello", upload, pieces_of(b"x"))

    assert house.uploads.give_up(upload, seen[upload], trash.set_aside) is None
    assert house.uploads.size("ada/hello", upload) == 1


async def test_an_upload_that_was_cut_off_while_it_was_begun_leaves_nothing(house: House) -> None:
    upload, fresh = house.uploads.begin("ada/hello"), house.uploads.begin("ada/hello")
    folder = house.folder / "uploads"
    (folder / f"{upload}.part").unlink()
    old = house.clock() / 1e6 - 8 * DAY
    os.utime(folder / f"{upload}.repository", (old, old))
    os.utime(folder / f"{fresh}.repository", (old, old))

    report = await house.keeper().prune(Wish())

    assert [item.name for item in report.items] == [upload]
    left = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert left == sorted([f"{fresh}.part", f"{fresh}.repository"])


async def test_an_upload_that_somebody_is_writing_to_stays(house: House) -> None:
    upload = house.uploads.begin("ada/hello")
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def pieces():  # type: ignore[no-untyped-def]
        yield b"first"
        halfway.set()
        await go_on.wait()
        yield b"last"

    writing = asyncio.create_task(house.uploads.append("ada/hello", upload, pieces()))
    await halfway.wait()
    house.later(30)

    report = await house.keeper().prune(Wish())

    go_on.set()
    assert await writing == len(b"firstlast")
    assert not report.count
    assert await house.uploads.finish("ada/hello", upload, manifest.digest_of(b"firstlast"))


async def test_the_newest_backups_stay(house: House) -> None:
    for number in range(5):
        path = house.folder / "backups" / f"yard-{number}.db"
        path.write_bytes(bytes(100))
        at = house.clock() / 1e6 - (10 - number) * DAY
        os.utime(path, (at, at))

    await house.keeper(keep_backups=2).prune(Wish())

    assert sorted(path.name for path in (house.folder / "backups").glob("*.db")) == ["yard-3.db", "yard-4.db"]


async def test_a_clock_that_went_back_removes_nothing(house: House) -> None:
    model = await house.model()
    house.environment("a==1")
    house.instance("gone")
    await house.models.delete_version(model, await house.version(model, OLD))
    house.later(-100)

    assert not (await house.keeper().prune(NOTHING)).count


async def test_what_an_earlier_process_began_to_delete_is_deleted(house: House) -> None:
    environment = house.environment("a==1")
    aside = trash.set_aside(environment)
    assert not environment.exists()
    assert (aside / "bin" / "python").exists()

    await house.keeper().prune(Wish())

    assert not aside.exists()


async def test_by_itself_it_cleans_again_and_again(house: House) -> None:
    old = await house.prediction()
    house.later(31)
    running = asyncio.create_task(house.keeper(housekeeping_seconds=0.05).run())
    try:
        while await house.has_output(old):
            await asyncio.sleep(0.01)
        another = await house.prediction()
        house.later(31)
        while await house.has_output(another):
            await asyncio.sleep(0.01)
    finally:
        running.cancel()


async def test_while_the_disk_is_short_nothing_unused_stays_and_what_is_needed_does(house: House) -> None:
    await house.version(await house.model(), NEW, lock="b==1")
    unused, needed, output = house.environment("a==1"), house.environment("b==1"), await house.prediction()
    house.later(2)
    keeper = house.keeper(housekeeping_seconds=0.05)
    running = asyncio.create_task(keeper.run())
    try:
        await asyncio.sleep(0.3)
        assert unused.exists()
        house.free_share = 0.05
        while unused.exists():
            await asyncio.sleep(0.01)
    finally:
        running.cancel()

    assert needed.exists()
    assert house.has_layer(NEW)
    assert await house.has_output(output)


async def test_a_yard_that_stops_does_not_wait_for_a_large_folder(house: House) -> None:
    environment = house.environment("a==1")
    house.later(2)
    keeper = house.keeper()
    keeper.close()

    await keeper.prune(NOTHING)

    left = list((environment.parent / TRASH).iterdir())
    assert not environment.exists()
    assert [(path / "bin" / "python").exists() for path in left] == [True]
    await house.keeper().prune(Wish())
    assert not left[0].exists()


async def test_it_leaves_everything_alone_where_that_is_set(house: House) -> None:
    await asyncio.wait_for(house.keeper(housekeeping_seconds=0).run(), 5)
