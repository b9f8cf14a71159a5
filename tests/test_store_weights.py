"""Managed weights of a version in the store: on the disk once, a folder of links for each instance."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from weights_project import BASE, FILES, Weight

from modelyard.blobs.disk import DiskBlobs
from modelyard.oci import labels, managed
from modelyard.oci.managed import WeightsError
from modelyard.oci.manifest import Manifest, blob_key, digest_of, parse_config, render_config
from modelyard.packaging import recipe
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Context
from modelyard.packaging.recipe import Facts, SourceFile
from modelyard.store.environments import Lock
from modelyard.store.versions import Prepared, Store
from modelyard.weights import carrying
from modelyard.weights.lock import LockedWeight

pytestmark = pytest.mark.anyio

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs", fsync="process")


@pytest.fixture
def store(tmp_path: Path, blobs: DiskBlobs) -> Store:
    return Store(tmp_path / "store", blobs, dict(os.environ))


class Version(NamedTuple):
    """An image, and the weights that are beside it."""

    manifest: Manifest
    weights: tuple[managed.Weight, ...] = ()


@pytest.fixture(params=["beside the image", "in the image"])
def form(request: pytest.FixtureRequest) -> str:
    """Bundles; and versions of before, whose image names its weights itself."""
    found: str = request.param
    return found


Push = Callable[..., Awaitable[Version]]


@pytest.fixture
def push(blobs: DiskBlobs, tmp_path: Path, form: str) -> Push:
    async def push(*weights: Weight, text: str = "hello") -> Version:
        for weight in weights:
            await blobs.put(blob_key(digest_of(weight.layer)), weight.layer)
        return await made(blobs, tmp_path / "p", [weight.locked for weight in weights], text, form)

    return push


async def made(blobs: DiskBlobs, root: Path, weights: list[LockedWeight], text: str, form: str) -> Version:
    root.mkdir(exist_ok=True)
    (root / "run.py").write_text(text)
    facts = Facts(config={}, schema={}, lock=Lock(text="", python=OWN), ref="run.py:run")
    planned = recipe.plan(root, [SourceFile(path="run.py", size=5)], facts, version="1", machine="x86_64")
    artifact = venv.build(planned, Context(cache=root / ".cog" / "layers"), lambda _: None)
    for layer in artifact.layers:
        await blobs.put(blob_key(layer.descriptor.digest), b"".join(layer.chunks()))
    await blobs.put(blob_key(artifact.manifest.config.digest), artifact.config_bytes)
    if form == "beside the image":
        return Version(artifact.manifest, tuple(map(shown, weights)))
    config = parse_config(artifact.config_bytes)
    told = {labels.MANAGED_WEIGHTS: json.dumps(list(map(as_json, weights)))}
    data = render_config(replace(config, labels={**config.labels, **told}))
    await blobs.put(blob_key(digest_of(data)), data)
    layers = (*carrying.layers(weights), *artifact.manifest.layers)
    described = replace(artifact.manifest.config, digest=digest_of(data), size=len(data))
    return Version(replace(artifact.manifest, config=described, layers=layers))


def shown(weight: LockedWeight) -> managed.Weight:
    files = tuple((file.path, file.layer) for file in weight.files)
    return managed.Weight(name=weight.name, target=weight.target, files=files)


def as_json(weight: LockedWeight) -> dict[str, object]:
    files = [{"path": file.path, "layer": file.layer} for file in weight.files]
    return {"name": weight.name, "target": weight.target, "files": files}


def nobody(_: str) -> None:
    """Nobody listens."""


async def ready(store: Store, version: Version, instance: str) -> Prepared:
    return await store.materialise(version.manifest, instance, nobody, version.weights)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_an_instance_gets_a_folder_of_each_and_the_source_has_none(store: Store, push: Push) -> None:
    other = Weight(name="other", target="/models/other", files={"c": b"c"})
    prepared = await ready(store, await push(BASE, other), "one")
    assert [(everything(folder), target) for folder, target in prepared.folders] == [
        (FILES, "/src/weights/base"),
        ({"c": b"c"}, "/models/other"),
    ]
    assert everything(prepared.source) == {"run.py": b"hello"}
    prepared.release()
    assert not prepared.folders[0][0].exists()


async def test_files_are_on_the_disk_once_for_all_versions_and_instances(store: Store, push: Push) -> None:
    found = []
    for instance, text in (("a", "one"), ("b", "one"), ("c", "two")):
        manifest = await push(BASE, text=text)
        found.append((await ready(store, manifest, instance)).folders[0][0] / "a.txt")
    assert len({path.stat().st_ino for path in found}) == 1
    assert not found[0].stat().st_mode & 0o222


async def test_weights_that_were_taken_away_come_again(tmp_path: Path, store: Store, push: Push) -> None:
    manifest = await push(BASE)
    (await ready(store, manifest, "one")).release()
    shutil.rmtree(tmp_path / "store" / "layers")
    prepared = await ready(store, manifest, "two")
    assert everything(prepared.folders[0][0]) == FILES


async def test_a_layer_brings_only_the_files_that_the_version_names(
    tmp_path: Path, blobs: DiskBlobs, store: Store, form: str
) -> None:
    locked = BASE.locked
    part = LockedWeight(**{name: getattr(locked, name) for name in locked.__slots__} | {"files": locked.files[:1]})
    await blobs.put(blob_key(digest_of(BASE.layer)), BASE.layer)
    prepared = await ready(store, await made(blobs, tmp_path / "p", [part], "hello", form), "one")
    assert everything(prepared.folders[0][0]) == {"a.txt": FILES["a.txt"]}


async def test_a_file_that_is_in_no_layer_is_named(tmp_path: Path, store: Store, push: Push) -> None:
    manifest = await push(BASE)
    await ready(store, manifest, "one")
    layer = tmp_path / "store" / "layers" / digest_of(BASE.layer).removeprefix("sha256:")
    (layer / "sub" / "b.txt").unlink()
    with pytest.raises(WeightsError, match=r'weight "base": a layer has no file b\.txt'):
        await ready(store, manifest, "two")
    assert store.uses(next((tmp_path / "store" / "sources").iterdir()).name) == 1


async def test_layers_that_an_image_does_not_name_are_refused(store: Store, blobs: DiskBlobs, tmp_path: Path) -> None:
    found = await made(blobs, tmp_path / "p", [BASE.locked], "hello", "in the image")
    robbed = replace(found.manifest, layers=found.manifest.layers[1:])
    with pytest.raises(WeightsError, match="which the version does not name"):
        await store.materialise(robbed, "one", nobody)
