"""The store: versions made ready once, shared, counted; each instance with a working copy of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.blobs.disk import DiskBlobs
from modelyard.oci import labels
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import CONFIG, Config, Descriptor, Manifest, blob_key
from modelyard.packaging import ignore, recipe
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Context
from modelyard.packaging.recipe import Facts, SourceFile
from modelyard.store import system_packages
from modelyard.store.copies import copy_tree
from modelyard.store.environments import EnvironmentFailedError, Lock
from modelyard.store.versions import MissingPackagesError, NotOursError, Prepared, Store

pytestmark = pytest.mark.anyio

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
ENVIRON = dict(os.environ)
WEIGHTS = bytes(range(256)) * 4 * 10300


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs", fsync="process")


@pytest.fixture
def store(tmp_path: Path, blobs: DiskBlobs) -> Store:
    return Store(tmp_path / "store", blobs, ENVIRON)


async def push(
    blobs: DiskBlobs, root: Path, text: str = "hello", lock: str = "", config: dict[str, object] | None = None
) -> Manifest:
    (root / "sub").mkdir(parents=True, exist_ok=True)
    (root / "run.py").write_text(text)
    (root / "sub" / "weights.bin").write_bytes(WEIGHTS)
    files = [SourceFile(path=path, size=(root / path).lstat().st_size) for path in ignore.walk(root)]
    facts = Facts(config=config or {}, schema={}, lock=Lock(text=lock, python=OWN), ref="run.py:run")
    planned = recipe.plan(root, files, facts, version="1", machine="x86_64")
    artifact = venv.build(planned, Context(cache=root / ".cog" / "layers"), lambda _: None)
    for layer in artifact.layers:
        await blobs.put(blob_key(layer.descriptor.digest), b"".join(layer.chunks()))
    await blobs.put(blob_key(artifact.manifest.config.digest), artifact.config_bytes)
    return artifact.manifest


def nobody(_: str) -> None:
    """Nobody listens."""


def version_of(manifest: Manifest) -> str:
    return oci.digest_of(oci.render(manifest)).removeprefix("sha256:")


async def test_a_version_is_made_ready_with_its_source_and_its_python(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    prepared = await store.materialise(await push(blobs, tmp_path / "p"), "one", nobody)
    assert (prepared.source / "run.py").read_text() == "hello"
    assert (prepared.source / "sub" / "weights.bin").read_bytes() == WEIGHTS
    done = subprocess.run([prepared.python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert done.stdout.strip().startswith(str(tmp_path / "store" / "environments"))


async def test_an_instance_writes_into_its_own_copy_alone(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p")
    one = await store.materialise(manifest, "one", nobody)
    (one.source / "run.py").write_text("changed")
    (one.source / "new").touch()
    (one.source / "sub" / "weights.bin").unlink()
    (one.source / "sub" / "weights.bin").write_bytes(b"mine")
    two = await store.materialise(manifest, "two", nobody)
    assert (two.source / "run.py").read_text() == "hello"
    assert not (two.source / "new").exists()
    assert (two.source / "sub" / "weights.bin").read_bytes() == WEIGHTS


async def test_weights_that_versions_share_are_on_the_disk_once(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    await store.materialise(await push(blobs, tmp_path / "p", "one"), "a", nobody)
    await store.materialise(await push(blobs, tmp_path / "p", "two"), "b", nobody)
    sources = [path / "sub" / "weights.bin" for path in (tmp_path / "store" / "sources").iterdir()]
    assert len(sources) == 2
    assert sources[0].samefile(sources[1])
    assert not sources[0].stat().st_mode & 0o222


async def test_many_instances_at_once_make_a_version_once(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p")
    said: list[str] = []
    made = await asyncio.gather(*(store.materialise(manifest, f"i{n}", said.append) for n in range(6)))
    assert said.count("Unpacking the source") == 1
    assert len({prepared.python for prepared in made}) == 1
    assert len({prepared.source for prepared in made}) == 6
    assert store.uses(version_of(manifest)) == 6
    for prepared in made:
        prepared.release()
        prepared.release()
    assert store.uses(version_of(manifest)) == 0
    assert list((tmp_path / "store" / "instances").iterdir()) == []


async def test_versions_with_one_lock_share_an_environment(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    one = await store.materialise(await push(blobs, tmp_path / "p", "one"), "a", nobody)
    two = await store.materialise(await push(blobs, tmp_path / "p", "two"), "b", nobody)
    assert one.python == two.python


async def test_an_instance_of_an_earlier_life_is_adopted(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p")
    before = await store.materialise(manifest, "one", nobody)
    await store.materialise(manifest, "two", nobody)
    later = Store(tmp_path / "store", blobs, ENVIRON)
    adopted = later.adopt("one")
    assert adopted is not None
    assert (adopted.python, adopted.source) == (before.python, before.source)
    assert later.uses(version_of(manifest)) == 1
    assert later.adopt("three") is None
    later.sweep({"one"})
    assert [path.name for path in (tmp_path / "store" / "instances").iterdir()] == ["one"]
    adopted.release()
    assert not before.source.exists()


async def test_what_a_killed_process_left_half_done_is_not_taken_for_whole(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    manifest = await push(blobs, tmp_path / "p")
    half = tmp_path / "store" / "sources" / f"{version_of(manifest)}.1234.partial"
    half.mkdir(parents=True)
    (half / "run.py").write_text("hal")
    prepared = await store.materialise(manifest, "one", nobody)
    assert (prepared.source / "run.py").read_text() == "hello"


async def test_an_image_without_a_lock_is_refused_with_what_to_do(blobs: DiskBlobs, store: Store) -> None:
    config = oci.render_config(Config(labels={"run.cog.version": "0.23"}))
    await blobs.put(blob_key(oci.digest_of(config)), config)
    descriptor = Descriptor(media_type=CONFIG, digest=oci.digest_of(config), size=len(config))
    manifest = Manifest(config=descriptor, layers=())
    with pytest.raises(NotOursError) as caught:
        await store.materialise(manifest, "one", nobody)
    assert "by Cog 0.23" in str(caught.value)
    assert "yard push" in str(caught.value.hint)
    assert "MODELYARD_ENGINE=docker" in str(caught.value.hint)
    assert store.uses(version_of(manifest)) == 0


async def test_an_image_of_a_dockerfile_is_known_as_our_own(blobs: DiskBlobs, store: Store) -> None:
    config = oci.render_config(Config(labels={"run.cog.version": "0.1.0", labels.VERSION: "0.1.0"}))
    await blobs.put(blob_key(oci.digest_of(config)), config)
    descriptor = Descriptor(media_type=CONFIG, digest=oci.digest_of(config), size=len(config))
    with pytest.raises(NotOursError, match=r"made with --dockerfile by Modelyard 0\.1\.0") as caught:
        await store.materialise(Manifest(config=descriptor, layers=()), "one", nobody)
    assert "without --dockerfile" in str(caught.value.hint)


async def test_a_version_whose_system_packages_are_missing_is_refused_and_they_are_named(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    needs = {"build": {"system_packages": ["dpkg", "no-such-package-of-debian=1.2", "nor-this-one:amd64"]}}
    manifest = await push(blobs, tmp_path / "p", config=needs)
    with pytest.raises(MissingPackagesError) as caught:
        await store.materialise(manifest, "one", nobody)
    assert str(caught.value).endswith("does not have: no-such-package-of-debian=1.2, nor-this-one:amd64")
    assert "apt-get install" in str(caught.value.hint)


async def test_commands_of_a_version_are_not_executed_and_it_is_said_which(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    said: list[str] = []
    manifest = await push(blobs, tmp_path / "p", config={"build": {"run": [{"command": "echo a"}, "echo b"]}})
    await store.materialise(manifest, "one", said.append)
    assert "build.run of the version is not executed without containers: echo a; echo b" in said


async def test_system_packages_that_are_here_or_are_provided_by_one_that_is_are_no_hindrance(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    # `awk` is a name that mawk and gawk provide.
    manifest = await push(blobs, tmp_path / "p", config={"build": {"system_packages": ["dpkg", "awk"]}})
    assert (await store.materialise(manifest, "one", nobody)).source.exists()


def test_a_host_without_debians_packages_cannot_tell_what_is_missing() -> None:
    assert system_packages.missing(["ffmpeg"], "no-such-program") is None
    assert system_packages.missing([], "no-such-program") == []


async def test_a_layer_that_is_gone_is_an_error_that_names_it(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p")
    await blobs.delete(blob_key(manifest.layers[-1].digest))
    with pytest.raises(errors.NotFound, match=manifest.layers[-1].digest.removeprefix("sha256:")):
        await store.materialise(manifest, "one", nobody)
    assert list((tmp_path / "store").glob("sources/*")) == []


async def test_an_environment_that_cannot_be_made_fails_the_instance_alone(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    lock = f"six==1.17.0 --hash=sha256:{'0' * 64}\n"
    manifest = await push(blobs, tmp_path / "p", lock=lock)
    with pytest.raises(EnvironmentFailedError):
        await store.materialise(manifest, "one", nobody)
    assert store.adopt("one") is None
    assert isinstance(await store.materialise(await push(blobs, tmp_path / "p"), "two", nobody), Prepared)


async def test_blobs_that_are_not_files_of_this_host_are_fetched_first(tmp_path: Path, blobs: DiskBlobs) -> None:
    class Remote(DiskBlobs):
        def path(self, key: str) -> Path | None:
            return None

    manifest = await push(blobs, tmp_path / "p")
    prepared = await Store(tmp_path / "s", Remote(tmp_path / "blobs"), ENVIRON).materialise(manifest, "one", nobody)
    assert (prepared.source / "sub" / "weights.bin").read_bytes() == WEIGHTS
    assert list((tmp_path / "s" / "incoming").iterdir()) == []


def test_a_copy_keeps_links_and_what_may_be_executed(tmp_path: Path) -> None:
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "a" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "a" / "run.sh").chmod(0o555)
    (tmp_path / "a" / "sub" / "link").symlink_to("../run.sh")
    copy_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "sub" / "link").readlink() == Path("../run.sh")
    assert (tmp_path / "b" / "run.sh").stat().st_mode & 0o777 == 0o755
