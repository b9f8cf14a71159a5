"""Whether the registry's store is whole, what `--fix` mends, and what versions share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from house import DAY, House

from modelyard import amounts, errors
from modelyard.db.base import Database, Statement
from modelyard.oci import manifest
from modelyard.oci.manifest import Descriptor, Manifest
from modelyard.predictions.record import Status
from modelyard.registry.repositories import StoredManifest
from modelyard.upkeep import Check, Finding, Wish
from modelyard.uses import Uses

pytestmark = pytest.mark.anyio

ONE, OTHER, SHARED = b"o" * 5000, b"t" * 6000, b"s" * 7000
FORGET_MANIFEST = Statement("forget_manifest", "DELETE FROM manifests WHERE digest = :digest")
FORGET_BLOB = Statement("forget_blob", "DELETE FROM repository_blobs WHERE digest = :digest")
WRONG_SIZE = Statement("wrong_size", "UPDATE repository_blobs SET size = 1 WHERE digest = :digest")
TAG = Statement("tag", "INSERT INTO tags (repository, tag, digest, updated_at) VALUES ('ada/hello', 'x', :digest, 1)")


@pytest.fixture
def house(sqlite_db: Database, tmp_path: Path) -> House:
    return House(sqlite_db, tmp_path)


@pytest.fixture
def anywhere(db: Database, tmp_path: Path) -> House:
    """On each database in turn, where rows decide."""
    return House(db, tmp_path)


def bytes_of(house: House, digest: str) -> Path:
    return house.folder / "blobs" / manifest.blob_key(digest)


async def look(house: House, *, deep: bool = False) -> list[Finding]:
    return (await house.keeper().check(Check(deep=deep))).findings


async def mend(house: House, *, deep: bool = False) -> list[Finding]:
    return (await house.keeper().check(Check(deep=deep, fix=True))).findings


async def put_index(house: House, repository: str, images: list[str], tag: str | None) -> str:
    """An index of these images, as the registry has it after a push; gives its digest."""
    parts = [
        {
            "mediaType": manifest.MANIFEST,
            "digest": f"sha256:{each}",
            "size": bytes_of(house, f"sha256:{each}").stat().st_size,
        }
        for each in images
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": manifest.INDEX, "manifests": parts}).encode()
    return await put(house, repository, data, tag)


async def put(house: House, repository: str, data: bytes, tag: str | None) -> str:
    digest = manifest.digest_of(data)
    key = manifest.blob_key(digest)
    await house.blobs.put(key, data)
    kind = manifest.parse(data).media_type
    stored = StoredManifest(digest=digest, media_type=kind, size=len(data), blob_key=key)
    await house.repositories.add_manifest(repository, stored, tag)
    return digest


async def signature(house: House, repository: str, subject: str, layer: bytes) -> str:
    """A companion of an image, pushed by its digest."""
    named = []
    for content in (b"{}", layer):
        digest = manifest.digest_of(content)
        await house.blobs.put(manifest.blob_key(digest), content)
        await house.repositories.add_blob(repository, digest, len(content))
        named.append(Descriptor(media_type="application/vnd.example", digest=digest, size=len(content)))
    made = Manifest(
        config=named[0],
        layers=(named[1],),
        artifact_type="application/vnd.example.signature",
        subject=Descriptor(media_type=manifest.MANIFEST, digest=subject, size=1),
    )
    return await put(house, repository, manifest.render(made), None)


async def test_a_store_that_is_whole_has_nothing_to_say(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    version = await house.version(model, ONE)
    await house.weights("ada/hello", b"w" * 100)
    await put_index(house, model.full_name, [version], "all")

    checked = await house.keeper().check(Check(deep=True))

    assert checked.findings == []
    assert checked.counts["versions"] == 1
    assert checked.counts["manifests"] == 3


async def test_a_lost_layer_is_named_with_the_version_and_what_to_do(house: House) -> None:
    version = await house.version(await house.model(), ONE)
    bytes_of(house, manifest.digest_of(ONE)).unlink()

    (found,) = await look(house)

    assert found.kind == "layer"
    assert found.name.startswith(f"ada/hello@sha256:{version[:12]}")
    assert found.problem == "its bytes are missing"
    assert "let --fix forget it, so that a push sends it; then push it again" in found.remedy
    assert not found.fixable
    # The registry no longer claims to have it, so that the next push sends it.
    (left,) = await mend(house)
    assert (left.kind, left.fixed, left.remedy) == ("layer", False, "push it again, or delete the version")
    assert await house.repositories.blob_size("ada/hello", manifest.digest_of(ONE)) is None
    assert await look(house) == [left]


async def test_a_layer_that_was_cut_short_is_seen_by_its_size(house: House) -> None:
    await house.version(await house.model(), ONE)
    bytes_of(house, manifest.digest_of(ONE)).write_bytes(ONE[:-1])
    found = await look(house)
    assert {finding.problem for finding in found} == {"it has 4999 bytes instead of 5000"}


async def test_changed_bytes_are_seen_only_when_they_are_read_and_removed_with_fix(house: House) -> None:
    await house.version(await house.model(), ONE)
    kept = bytes_of(house, manifest.digest_of(ONE))
    kept.write_bytes(OTHER[:5000])
    assert await look(house) == []

    found, lost = await look(house, deep=True)
    assert (found.kind, found.bytes) == ("content", 5000)
    assert (lost.kind, lost.problem) == ("layer", found.problem)
    assert kept.exists()
    fixed, lost = await mend(house, deep=True)
    assert (fixed.kind, fixed.fixed) == ("content", True)
    assert not kept.exists()
    assert await look(house) == [lost]


async def test_what_the_lists_lack_is_listed_again(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    version = await house.version(model, ONE)
    await house.db.run(FORGET_BLOB, {"digest": manifest.digest_of(ONE)})
    assert [finding.kind for finding in await mend(house)] == ["layer"]
    assert await look(house) == []
    assert await house.repositories.blob_size(model.full_name, manifest.digest_of(ONE)) == len(ONE)

    await house.db.run(FORGET_MANIFEST, {"digest": f"sha256:{version}"})
    (listed,) = await mend(house)
    assert (listed.kind, listed.fixed) == ("version", True)
    assert await look(house) == []
    assert await house.repositories.manifest(model.full_name, f"sha256:{version}")


async def test_a_version_whose_manifest_is_lost_cannot_be_mended_and_stays(house: House) -> None:
    model = await house.model()
    version = await house.version(model, ONE)
    bytes_of(house, f"sha256:{version}").unlink()
    (found,) = await mend(house)
    assert (found.kind, found.fixed) == ("manifest", False)
    assert await house.repositories.manifest(model.full_name, f"sha256:{version}")


async def test_a_manifest_that_cannot_be_read_is_forgotten_unless_it_is_a_version(house: House) -> None:
    model = await house.model()
    version = await house.version(model, ONE)
    index = await put_index(house, model.full_name, [version], None)
    for digest in (index, f"sha256:{version}"):
        kept = bytes_of(house, digest)
        kept.write_bytes(b"x" * kept.stat().st_size)

    found = {finding.name.partition("@")[2]: finding for finding in await mend(house)}

    assert {finding.problem for finding in found.values()} == {"it cannot be read"}
    assert found[index[:19]].fixed
    assert not found[f"sha256:{version}"[:19]].fixed
    assert await house.repositories.manifest(model.full_name, index) is None


async def test_rows_and_tags_without_anything_behind_them_are_forgotten(house: House) -> None:
    model = await house.model()
    await house.version(model, ONE)
    await house.repositories.add_blob("ada/other", manifest.digest_of(b"never came"), 10)
    await house.db.run(TAG, {"digest": manifest.digest_of(b"nothing")})
    await house.db.run(WRONG_SIZE, {"digest": manifest.digest_of(ONE)})

    found = await mend(house)

    # Its size was wrong in the list: it is forgotten there, and what the image names is listed anew.
    assert sorted(finding.kind for finding in found) == ["blob", "blob", "layer", "tag"]
    assert all(finding.fixed for finding in found)
    assert await look(house) == []


async def test_bytes_that_no_repository_has_go_after_a_day_unless_a_push_relies_on_them(house: House) -> None:
    key = manifest.blob_key(manifest.digest_of(ONE))
    await house.blobs.put(key, ONE)
    assert await mend(house) == []
    house.later(2)
    await house.relied_on.using(key)
    (found,) = await mend(house)
    assert (found.kind, found.fixed, found.bytes) == ("bytes", False, len(ONE))
    house.relied_on = Uses(DAY)
    (found,) = await mend(house)
    assert found.fixed
    assert await look(house) == []


async def test_an_index_that_is_a_version_goes_with_it_and_stays_with_it(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    version = await house.version(model, ONE)
    index = await put_index(house, model.full_name, [version], "all")
    await house.models.add_version(model.id, index[7:], {}, {}, "0.1")
    await house.models.delete_version(model, version)
    house.later(40)
    await house.keeper().prune(Wish(unused=amounts.size("0")))
    assert house.has_layer(ONE)
    assert await look(house) == []

    await house.models.delete_version(model, index[7:])
    assert await house.repositories.manifests_of(model.full_name) == []
    assert await house.repositories.tags(model.full_name, "", 10) == []
    await house.keeper().prune(Wish(unused=amounts.size("0")))
    assert not house.has_layer(ONE)


async def test_what_signs_a_version_stays_and_goes_with_it(house: House) -> None:
    model = await house.model()
    version = await house.version(model, ONE)
    await signature(house, model.full_name, f"sha256:{version}", OTHER)
    house.later(40)
    await house.keeper().prune(Wish(unused=amounts.size("0")))
    assert house.has_layer(OTHER)

    await house.models.delete_version(model, version)
    await house.keeper().prune(Wish(unused=amounts.size("0")))
    assert not house.has_layer(OTHER)


async def test_a_version_that_does_not_go_keeps_its_image(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    version = await house.version(model, ONE)
    with pytest.raises(errors.NotFound):
        await house.models.delete_version(model, "0" * 64)
    await house.prediction(status=Status.PROCESSING, model_id=model.id, version_id=version)
    with pytest.raises(errors.Conflict, match="waiting or running"):
        await house.models.delete_version(model, version)
    with pytest.raises(errors.Forbidden, match="has versions"):
        await house.models.delete(model)
    assert await house.repositories.tagged(model.full_name, "latest")


async def test_a_deleted_model_leaves_an_empty_repository(anywhere: House) -> None:
    house = anywhere
    model, other = await house.model(), await house.model("other")
    gone = await house.version(model, ONE)
    await house.version(other, SHARED)
    await house.models.delete_version(model, gone)
    await house.models.delete(model)
    house.later(40)
    rows = await house.repositories.everything()
    assert {repository for repository, _ in (*rows.manifests, *rows.blobs, *rows.tags)} == {other.full_name}
    assert await look(house) == []


async def test_what_two_models_have_as_the_same_version_is_neithers_alone(house: House) -> None:
    for name in ("hello", "other"):
        await house.version(await house.model(name), ONE)
    found = await house.keeper().holdings()
    assert [(each.name, each.unique) for each in found.held] == [("ada/hello", 0), ("ada/other", 0)]


async def test_what_versions_share_is_counted_once(anywhere: House) -> None:
    house = anywhere
    model = await house.model()
    versions = [await house.version(model, SHARED, lock=lock) for lock in ("a==1", "b==1")]
    alone = await house.version(await house.model("other"), OTHER)
    weights = await house.weights("ada/hello", b"w" * 100)
    gone = await house.version(model, ONE)
    await house.models.delete_version(model, gone)

    found = await house.keeper().holdings()

    held = {each.id: each for each in found.held}
    assert set(held) == {*versions, alone, weights[7:]}
    for version in versions:
        assert held[version].bytes - held[version].unique == len(SHARED)
    assert held[alone].bytes == held[alone].unique > len(OTHER)
    assert not held[weights[7:]].is_version
    assert found.unneeded > len(ONE)
    assert found.bytes == sum(each.bytes for each in held.values()) - len(SHARED) + found.unneeded
