"""Layouts and archives of images: what is put in comes out, also with the tools of others."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import bases
import pytest

from modelyard.oci import archive
from modelyard.oci.archive import Image
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout, LayoutError
from modelyard.oci.manifest import Config, Descriptor, Index, digest_of, render_index

CONFIG = Config(architecture="amd64", created="1970-01-01T00:00:00Z", history=("one",))


def image(folder: Path) -> tuple[Image, Layer]:
    _, layer = bases.write(folder, CONFIG)
    layout = Layout(folder)
    descriptor, manifest = layout.image("latest", "linux/amd64")
    config = layout.read(manifest.config)
    return Image(manifest=layout.read(descriptor), config=config, layers=[layer], platform="linux/amd64"), layer


def test_an_image_is_found_by_its_name_which_another_may_take(tmp_path: Path) -> None:
    bases.write(tmp_path, CONFIG, "one")
    bases.write(tmp_path, replace(CONFIG, user="me"), "two")
    layout = Layout(tmp_path)
    assert set(layout.names()) == {"one", "two"}
    before = layout.image("one", "linux/amd64")[0].digest
    bases.write(tmp_path, replace(CONFIG, user="you"), "one")
    assert layout.image("one", "linux/amd64")[0].digest != before
    with pytest.raises(LayoutError, match="has 2 images: 'two', 'one'"):
        layout.image(None, "linux/amd64")
    with pytest.raises(LayoutError, match="has no image called 'three'"):
        layout.image("three", "linux/amd64")


def test_an_index_has_an_image_for_each_platform(tmp_path: Path) -> None:
    bases.write(tmp_path, CONFIG, "amd")
    bases.write(tmp_path, replace(CONFIG, architecture="arm64"), "arm")
    layout = Layout(tmp_path)
    both = render_index(Index(manifests=tuple(layout.names().values())))
    layout.put(both)
    described = Descriptor(media_type="application/vnd.oci.image.index.v1+json", digest=digest_of(both), size=len(both))
    layout.name(described, "both")
    assert layout.image("both", "linux/arm64")[0].digest == layout.names()["arm"].digest
    with pytest.raises(LayoutError, match=r"has no image for linux/riscv64; it has: linux/amd64, linux/arm64"):
        layout.image("both", "linux/riscv64")


def test_a_folder_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"is no OCI layout: index.json: No such file"):
        Layout(tmp_path).names()


def test_a_blob_that_was_changed_is_not_read(tmp_path: Path) -> None:
    bases.write(tmp_path, CONFIG)
    layout = Layout(tmp_path)
    descriptor, _ = layout.image(None, "linux/amd64")
    layout.path(descriptor.digest).write_bytes(b"{}")
    with pytest.raises(LayoutError, match="has another digest"):
        layout.image(None, "linux/amd64")


def test_an_archive_has_the_layers_and_the_lists_of_both_kinds(tmp_path: Path) -> None:
    made, layer = image(tmp_path)
    data = b"".join(archive.stream(archive.whole(made, "me/m:latest")))
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        there = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    (listed,) = json.loads(there["manifest.json"])
    assert (listed["RepoTags"], listed["Layers"]) == (["me/m:latest"], [f"blobs/sha256/{layer.descriptor.digest[7:]}"])
    assert digest_of(there[listed["Layers"][0]]) == layer.descriptor.digest
    assert there[listed["Config"]] == made.config
    assert json.loads(there["index.json"])["manifests"][0]["digest"] == digest_of(made.manifest)


def test_layers_that_the_engine_has_are_named_and_not_sent(tmp_path: Path) -> None:
    made, layer = image(tmp_path)
    parts = archive.for_docker(made, "me/m:latest", 1)
    assert not [part for part in parts if layer.descriptor.digest[7:] in part.name]
    assert layer.descriptor.digest[7:].encode() in b"".join(parts[0].chunks())


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo reads what we write: apt-get install skopeo")
def test_skopeo_reads_the_layout_and_both_kinds_of_archive(tmp_path: Path) -> None:
    made, _ = image(tmp_path / "layout")
    file = tmp_path / "image.tar"
    file.write_bytes(b"".join(archive.stream(archive.whole(made, "me/m:latest"))))
    for place in (f"oci:{tmp_path / 'layout'}:latest", f"oci-archive:{file}", f"docker-archive:{file}"):
        done = subprocess.run(["skopeo", "inspect", place], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["Architecture"] == "amd64"
    kept = tmp_path / "copy"
    done = subprocess.run(["skopeo", "copy", f"oci-archive:{file}", f"oci:{kept}:x"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Layout(kept).image("x", "linux/amd64")[0].digest == digest_of(made.manifest)


def test_what_is_being_made_is_gone_afterwards_and_till_then_where_leftovers_are_looked_for(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    with layout.making() as folder:
        assert folder.parent == layout.folder / "making"
        (folder / "part").write_bytes(b"not whole")
    assert list((layout.folder / "making").iterdir()) == []
