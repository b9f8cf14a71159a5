"""A disk that fills up under a push; and the check of the store after whatever happened to it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from small_disks import needs_root

from modelyard.oci import labels
from modelyard.oci import manifest as oci
from tests.faults.yard import TOKEN, Yard

MEBIBYTE = 1024 * 1024
SCHEMA = json.dumps({"components": {"schemas": {"Input": {"type": "object", "properties": {}}}}})
CONFIG = oci.render_config(oci.Config(labels=labels.cog(version="0.23.1", config="{}", schema=SCHEMA)))


def put_blob(yard: Yard, data: bytes) -> httpx.Response:
    path = f"/v2/yard/m/blobs/uploads/?digest={oci.digest_of(data)}"
    return yard.http.post(path, content=data)


def put_image(yard: Yard, *layers: bytes, tag: str = "latest") -> httpx.Response:
    described = [
        oci.Descriptor(media_type=oci.LAYER_TAR, digest=oci.digest_of(data), size=len(data)) for data in layers
    ]
    config = oci.Descriptor(media_type=oci.CONFIG, digest=oci.digest_of(CONFIG), size=len(CONFIG))
    data = oci.render(oci.Manifest(config=config, layers=tuple(described)))
    return yard.http.put(f"/v2/yard/m/manifests/{tag}", content=data, headers={"Content-Type": oci.MANIFEST})


def doctor(yard: Yard, *arguments: str) -> subprocess.CompletedProcess[str]:
    return yard.command("doctor", "--store", "--deep", *arguments)


def fill(yard: Yard) -> Path:
    """Leave not one byte of the disk."""
    filler = yard.data / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break
    return filler


@needs_root
def test_a_push_that_fills_the_disk_is_refused_gives_its_room_back_and_the_yard_goes_on(small: Yard) -> None:
    refused = put_blob(small, os.urandom(80 * MEBIBYTE))
    assert refused.status_code == 413
    (error,) = refused.json()["errors"]
    assert "was given up" in error["message"]
    assert list((small.data / "uploads").iterdir()) == []
    assert put_blob(small, CONFIG).status_code == 201
    layer = os.urandom(MEBIBYTE)
    assert put_blob(small, layer).status_code == 201

    filler = fill(small)
    time.sleep(1.2)  # how much is free is looked up once a second
    begun = small.http.post("/v2/yard/m/blobs/uploads/")
    assert begun.status_code == 413
    assert "nearly full" in begun.json()["errors"][0]["message"]
    pushed = put_image(small, layer)
    assert pushed.status_code >= 400
    assert pushed.json()["errors"][0]["message"]
    assert small.http.get("/v2/yard/m/manifests/latest").status_code == 404
    assert small.http.get("/v1/models/yard/m/versions").status_code in (200, 404)

    filler.unlink()
    time.sleep(1.2)
    assert put_image(small, layer).status_code == 201
    assert len(small.http.get("/v1/models/yard/m/versions").json()["results"]) == 1
    small.check_store()


def test_a_yard_killed_at_any_moment_of_a_push_keeps_a_store_that_is_whole(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    layer = os.urandom(3 * MEBIBYTE)
    for number in range(8):
        content = layer + bytes([number])
        pushing = threading.Thread(target=_push_and_be_cut_off, args=(yard, content, f"t{number}"))
        pushing.start()
        time.sleep(0.012 * number)
        yard.kill()
        pushing.join()
        yard.start()
        pulled = yard.http.get(f"/v2/yard/m/manifests/t{number}")
        model = yard.http.get("/v1/models/yard/m/versions")
        versions = [each["id"] for each in model.json()["results"]] if model.status_code == 200 else []
        # Either all of it is there, or none.
        assert (pulled.status_code == 200) == (oci.digest_of(pulled.content)[7:] in versions)
    yard.check_store()
    assert put_blob(yard, layer).status_code == put_blob(yard, CONFIG).status_code == 201
    assert put_image(yard, layer).status_code == 201
    yard.check_store()


def _push_and_be_cut_off(yard: Yard, layer: bytes, tag: str) -> None:
    with httpx.Client(base_url=yard.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as http:
        try:
            where = http.post("/v2/yard/m/blobs/uploads/").headers["location"]
            http.patch(where, content=layer[:MEBIBYTE])
            http.patch(where, content=layer[MEBIBYTE:])
            http.put(where, params={"digest": oci.digest_of(layer)})
            http.post("/v2/yard/m/blobs/uploads/", params={"digest": oci.digest_of(CONFIG)}, content=CONFIG)
        except httpx.HTTPError:
            return
    try:
        put_image(yard, layer, tag=tag)
    except httpx.HTTPError:
        return


def test_a_push_that_relies_on_old_layers_is_whole_though_the_yard_cleans(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()
    layer = os.urandom(MEBIBYTE)
    contents = {oci.digest_of(data): data for data in (layer, CONFIG)}
    for number in range(4):
        yard.start()
        stop = threading.Event()
        cleaning = threading.Thread(target=_clean_until, args=(yard, stop))
        cleaning.start()
        try:
            time.sleep(0.02 * number)
            # As docker does: what is said to be there is not sent.
            for digest, data in contents.items():
                if yard.http.head(f"/v2/yard/m/blobs/{digest}").status_code == 404:
                    put_blob(yard, data)
            assert put_image(yard, layer).status_code == 201
        finally:
            stop.set()
            cleaning.join()
        assert yard.http.get(f"/v2/yard/m/blobs/{oci.digest_of(layer)}").content == layer
        yard.check_store()
        (version,) = yard.http.get("/v1/models/yard/m/versions").json()["results"]
        assert yard.http.delete(f"/v1/models/yard/m/versions/{version['id']}").status_code == 202
        # What was pushed so long ago that no push can rely on it any more, and by another life of the yard.
        yard.stop()
        for path in (yard.data / "blobs" / "oci" / "sha256").iterdir():
            os.utime(path, (time.time() - 9e5, time.time() - 9e5))


def _clean_until(yard: Yard, stop: threading.Event) -> None:
    with httpx.Client(base_url=yard.url, headers=yard.http.headers, timeout=60) as http:
        while not stop.is_set():
            assert http.post("/v1/yard/prune", json={"unused": "0"}).status_code == 200


def test_the_doctor_names_what_a_hand_took_away_and_a_push_brings_it_back(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    layer = os.urandom(MEBIBYTE)
    for data in (layer, CONFIG):
        put_blob(yard, data)
    assert put_image(yard, layer).status_code == 201
    version = yard.http.get("/v1/models/yard/m").json()["latest_version"]["id"]
    lost = yard.data / "blobs" / oci.blob_key(oci.digest_of(layer))
    lost.unlink()

    told = doctor(yard)
    assert told.returncode == 1
    assert f"✗ layer yard/m@sha256:{version[:12]} {oci.digest_of(layer)[:19]}: its bytes are missing" in told.stderr
    assert "  Remediation: let --fix forget it, so that a push sends it; then push it again, or delete" in told.stderr
    assert told.stderr.endswith("Found 1 issue.\n")
    fixed = doctor(yard, "--fix")
    assert fixed.returncode == 1
    assert "  Remediation: push it again, or delete the version\nFound 1 issue.\n" in fixed.stderr

    assert yard.http.head(f"/v2/yard/m/blobs/{oci.digest_of(layer)}").status_code == 404
    put_blob(yard, layer)
    assert put_image(yard, layer).status_code == 201
    yard.check_store()


def test_one_mending_does_all_that_can_be_done_and_names_each_loss_once(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    shared = [os.urandom(1000), os.urandom(1000)]
    for data in (*shared, CONFIG):
        put_blob(yard, data)
    for tag, layers in (("one", shared), ("two", shared[::-1])):
        assert put_image(yard, *layers, tag=tag).status_code == 201
    alone = os.urandom(100)
    put_blob(yard, alone)
    missing, damaged, unneeded = (yard.data / "blobs" / oci.blob_key(oci.digest_of(each)) for each in (*shared, alone))
    missing.unlink()
    for path in (damaged, unneeded):
        path.chmod(0o600)
        path.write_bytes(bytes(path.stat().st_size))

    seen = json.loads(doctor(yard, "--json").stdout)["findings"]
    assert [each["kind"] for each in seen] == ["content"] * 2 + ["layer"] * 4 + ["blob"]
    assert not damaged.read_bytes().strip(b"\0")
    fixed = doctor(yard, "--fix")
    assert "Fixed 3 issues. 4 issues remaining." in fixed.stderr
    assert not any(path.exists() for path in (damaged, unneeded))
    again = doctor(yard, "--fix")
    assert again.stderr.count("its bytes are missing\n  Remediation: push it again") == 4
    assert again.stderr.endswith("Found 4 issues.\n")
    for data in shared:
        put_blob(yard, data)
    yard.check_store()


def test_what_a_repository_does_not_list_is_told_with_what_mends_it(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    layer = os.urandom(1000)
    for data in (layer, CONFIG):
        put_blob(yard, data)
    assert put_image(yard, layer).status_code == 201
    yard.stop()
    with contextlib.closing(sqlite3.connect(yard.data / "yard.db")) as database, database:
        database.execute("DELETE FROM manifests")
        database.execute("DELETE FROM repository_blobs")
    yard.start()

    told = doctor(yard)
    assert "its registry does not list its image\n  Remediation: list it (--fix does it)\n" in told.stderr
    assert "`yard doctor --store --fix` mends what can be mended." in told.stderr
    # What the image that is listed again needs is seen only then.
    fixed = doctor(yard, "--fix")
    assert fixed.returncode == 0
    assert fixed.stderr.endswith("Fixed 3 issues.\n")
    yard.check_store()


def test_an_index_of_an_image_that_yard_push_made_runs(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    version = yard.push("maker", "class Runner:\n    def run(self, text: str) -> str:\n        return text * 2\n")
    # It has no base, so that nobody can pull it.
    (kept,) = (path for path in yard.data.rglob(version) if path.is_file())
    part = {"mediaType": oci.MANIFEST, "digest": f"sha256:{version}", "size": kept.stat().st_size}
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [part]}).encode()
    put = yard.http.put("/v2/yard/maker/manifests/all", content=index, headers={"Content-Type": oci.INDEX})
    assert put.status_code == 201

    made = yard.create(oci.digest_of(index)[7:], {"text": "ab"}, Prefer="wait=60")
    assert (made["status"], made["output"]) == ("succeeded", "abab")
    yard.check_store()


def test_images_are_listed_with_what_is_theirs_alone(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    assert "0 images" in yard.command("images").stderr
    shared, one, other = (os.urandom(size * 1000) for size in (500, 300, 200))
    for data in (shared, one, other, CONFIG):
        put_blob(yard, data)
    assert put_image(yard, shared, one, tag="one").status_code == 201
    assert put_image(yard, shared, other, tag="two").status_code == 201

    shown = yard.command("images")
    first, second = shown.stdout.splitlines()[1:]
    assert shown.stdout.splitlines()[0].split() == ["MODEL", "VERSION", "TAGS", "SIZE", "UNIQUE", "MADE"]
    assert "yard/m" in first
    assert "two" in first
    assert "one" in second
    assert "if none shared its layers with another" in shown.stderr
    document = json.loads(yard.command("images", "--json").stdout)
    sizes = {each["tags"][0]: each for each in document["images"]}
    assert len(one) < sizes["one"]["unique_bytes"] < len(one) + 1000
    assert sizes["one"]["shared_bytes"] == len(shared) + len(CONFIG)
    assert document["unneeded_bytes"] == 0


@pytest.mark.parametrize("words", [["--deep"], ["--store", "--file", "cog.yaml"]])
def test_flags_of_the_two_doctors_do_not_mix(make_yard: Callable[..., Yard], words: list[str]) -> None:
    done = make_yard().command("doctor", *words)
    assert done.returncode == 2
    assert "--store" in done.stderr
