"""`yard images --here` and `yard prune --here`: what builds and pushes keep in a user's cache."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from yard_process import Run

from modelyard.oci.layers import Layer, Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import CONFIG, MANIFEST, Config, Descriptor, Manifest, digest_of, render, render_config

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine of this machine has is not theirs to clear."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture
def cache(home: Path) -> Layout:
    folder = home / ".cache" / "modelyard" / "images"
    folder.mkdir(parents=True)
    return Layout(folder)


def layer(cache: Layout, size: int) -> Layer:
    """A layer that some build made."""
    (cache.folder / "content").write_bytes(os.urandom(size))
    made = write_layer([Member(name="content", path=cache.folder / "content")], cache.folder / "layer")
    cache.take(made.path, made.descriptor.digest)
    (cache.folder / "content").unlink()
    return made


def image(cache: Layout, name: str, *layers: Layer) -> None:
    """An image that a build keeps under a name."""
    config = render_config(Config(labels={"name": name}, diff_ids=tuple(each.diff_id for each in layers)))
    described = Descriptor(media_type=CONFIG, digest=cache.put(config), size=len(config))
    data = render(Manifest(config=described, layers=tuple(each.descriptor for each in layers)))
    cache.put(data)
    cache.name(Descriptor(media_type=MANIFEST, digest=digest_of(data), size=len(data)), name)


def there(cache: Layout, one: Layer) -> bool:
    return cache.has(one.descriptor)


def aged(cache: Layout, one: Layer, days: float) -> None:
    when = time.time() - days * DAY
    os.utime(cache.path(one.descriptor.digest), (when, when))


def test_images_that_builds_keep_are_listed_with_what_they_share(yard: Run, cache: Layout) -> None:
    shared, own, loose = layer(cache, 300_000), layer(cache, 50_000), layer(cache, 20_000)
    image(cache, "one:latest", shared, own)
    image(cache, "two:latest", shared)
    done = yard("images", "--here")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["IMAGE", "one:latest", "two:latest"]
    assert "2 images in " in done.stderr
    told = json.loads(yard("images", "--here", "--json").stdout)
    assert told["layer_bytes"] == loose.descriptor.size
    first, second = told["images"]
    assert own.descriptor.size < first["unique_bytes"] < shared.descriptor.size < second["bytes"]
    assert second["unique_bytes"] < 2000


def test_layers_that_nobody_used_go_and_those_of_a_kept_image_stay(yard: Run, cache: Layout) -> None:
    kept, old, young = layer(cache, 1000), layer(cache, 2000), layer(cache, 3000)
    image(cache, "kept:latest", kept)
    for one in (kept, old):
        aged(cache, one, 40)
    aged(cache, young, 3)
    tried = yard("prune", "--here", "--dry-run")
    assert "1 thing would go" in tried.stderr
    assert there(cache, old)
    done = yard("prune", "--here")
    assert done.returncode == 0, done.stderr
    assert "not used for 30d" in done.stdout
    assert [there(cache, one) for one in (kept, old, young)] == [True, False, True]
    yard("prune", "--here", "--older-than", "1d")
    assert [there(cache, one) for one in (kept, young)] == [True, False]


def test_with_all_images_under_names_go_too(yard: Run, cache: Layout) -> None:
    kept = layer(cache, 1000)
    image(cache, "kept:latest", kept)
    aged(cache, kept, 40)
    done = yard("prune", "--here", "--all", "--older-than", "30d", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["totals"]["images"]["count"] == 1
    assert not there(cache, kept)
    assert json.loads(yard("images", "--here", "--json").stdout)["images"] == []


def test_with_all_an_image_is_counted_with_its_layers_and_those_go_with_it(yard: Run, cache: Layout) -> None:
    shared, own, loose = layer(cache, 300_000), layer(cache, 50_000), layer(cache, 20_000)
    image(cache, "one:latest", shared, own)
    image(cache, "two:latest", shared)
    before = json.loads(yard("images", "--here", "--json").stdout)
    tried = json.loads(yard("prune", "--here", "--all", "--dry-run", "--json").stdout)
    assert tried["bytes"] == before["bytes"] - loose.descriptor.size
    assert there(cache, own)
    assert yard("prune", "--here", "--all", "--older-than", "1d").returncode == 0
    assert there(cache, own), "it is not as old as that"
    image(cache, "one:latest", shared, own)
    image(cache, "two:latest", shared)
    done = json.loads(yard("prune", "--here", "--all", "--json").stdout)
    assert done["totals"] == tried["totals"]
    assert [there(cache, one) for one in (shared, own, loose)] == [False, False, True]
    assert json.loads(yard("images", "--here", "--json").stdout)["bytes"] == loose.descriptor.size


def test_what_was_broken_off_goes_after_a_day(yard: Run, cache: Layout) -> None:
    for name, days in (("old", 2.0), ("young", 0.1)):
        folder = cache.folder / "making" / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 500)
        when = time.time() - days * DAY
        os.utime(folder, (when, when))
    report = json.loads(yard("prune", "--here", "--json").stdout)
    assert [(item["kind"], item["name"]) for item in report["items"]] == [("leftovers", "making/old")]
    assert sorted(path.name for path in (cache.folder / "making").iterdir()) == ["young"]


def test_nothing_kept_is_no_fault_and_wrong_flags_are_told(yard: Run) -> None:
    assert "0 images" in yard("images", "--here").stderr
    assert "Nothing to remove." in yard("prune", "--here").stderr
    for flags, words in (
        (("--all",), "--all is for --here"),
        (("--here", "--unused", "0"), "--unused is for a yard"),
        (("--here", "--older-than", "soon"), "--older-than is 'soon'; wanted: "),
    ):
        done = yard("prune", *flags)
        assert done.returncode == 2
        assert words in done.stderr
