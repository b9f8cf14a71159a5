"""Layers and manifests of weights: the same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

from modelyard.oci.manifest import LAYER_GZIP, LAYER_TAR, Manifest, parse
from modelyard.weights import artifact, packing
from modelyard.weights.cache import Cache
from modelyard.weights.packing import Group, Stored

MIB = 1024 * 1024


def stored(cache: Cache, path: str, data: bytes) -> Stored:
    return Stored(path=path, size=len(data), digest=cache.add([data]))


def test_small_files_go_together_and_large_ones_alone() -> None:
    digest = "sha256:" + "0" * 64
    sizes = {"a": 63, "b": 63, "c": 63, "d": 63, "e": 63, "f.safetensors": 64, "g.npy": 100, "h.BIN": 64, "i.bin": 63}
    groups = packing.plan(
        Stored(path=path, size=size * MIB, digest=digest) for path, size in reversed(list(sizes.items()))
    )
    assert [("".join(file.path[0] for file in group.files), group.compressed) for group in groups] == [
        ("abcd", True),
        ("f", False),
        ("g", True),
        ("h", False),
        ("ei", True),
    ]


def test_a_layer_holds_its_files_whatever_the_machine(tmp_path: Path) -> None:
    found = []
    for number in range(2):
        before = os.umask(0o077 if number else 0o022)
        cache = Cache(tmp_path / f"cache{number}")
        files = (stored(cache, "sub/ü.json", b"{}"), stored(cache, "a" * 150 + ".txt", b"x" * 5000))
        packed = packing.pack(Group(files=files, compressed=True), cache)
        os.umask(before)
        found.append(b"".join(packed.layer.chunks()))
        assert packed.locked.media_type == LAYER_GZIP
        assert packed.locked.size == len(found[-1])
        assert packed.locked.size_uncompressed == 5002
        assert packed.locked.digest == "sha256:" + hashlib.sha256(found[-1]).hexdigest()
    assert found[0] == found[1]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(found[0]))) as archive:
        members = archive.getmembers()
        read = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert read == {"a" * 150 + ".txt": b"x" * 5000, "sub/ü.json": b"{}"}
    assert {(member.mtime, member.uid, member.gid, member.mode) for member in members} == {(0, 0, 0, 0o644)}
    assert [member.name for member in members] == sorted(read)


def test_a_large_file_is_not_copied_and_can_be_sent_from_anywhere(tmp_path: Path) -> None:
    cache, data = Cache(tmp_path), os.urandom(3 * MIB + 5)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    packed = packing.pack(Group(files=(stored(cache, "m.gguf", data),), compressed=False), cache)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(before) + 1
    whole = b"".join(packed.layer.chunks())
    assert packed.locked.media_type == LAYER_TAR
    assert packed.locked.digest == "sha256:" + hashlib.sha256(whole).hexdigest()
    for start in (1, 512, MIB + 3, len(whole) - 1):
        assert b"".join(packed.layer.chunks(start)) == whole[start:]
    packed.discard()
    assert cache.has(packed.files[0].digest)


def test_the_digest_of_a_set_is_what_sha256sum_says(tmp_path: Path) -> None:
    names = ("b.txt", "a/c.txt", "z.bin")
    (tmp_path / "a").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    printed = subprocess.run(
        "find * -type f | xargs sha256sum | LC_ALL=C sort | sha256sum",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = [(name, "sha256:" + hashlib.sha256(name.encode()).hexdigest()) for name in names]
    assert artifact.set_digest(pairs) == "sha256:" + printed.stdout.split()[0]


def test_a_manifest_says_what_a_weight_is(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    packed = [
        packing.pack(Group(files=(stored(cache, name, name.encode() * 9),), compressed=True), cache)
        for name in ("a.json", "b.json", "c.json")
    ]
    files = [file for each in packed for file in each.files]
    layers = [each.locked for each in packed]
    made = artifact.make("w1", "/src/w1", files, layers)
    assert made == artifact.make("w1", "/src/w1", files[::-1], layers[::-1])
    found = parse(made.manifest)
    assert isinstance(found, Manifest)
    assert (found.artifact_type, found.config.media_type) == (artifact.TYPE, artifact.CONFIG_TYPE)
    assert found.annotations == {
        "run.cog.weight.name": "w1",
        "run.cog.weight.target": "/src/w1",
        "run.cog.weight.set-digest": artifact.set_digest((file.path, file.digest) for file in files),
        "run.cog.weight.size.uncompressed": "162",
    }
    digests = [layer.digest for layer in found.layers]
    assert digests == sorted(digests)
    assert {layer.annotations["run.cog.weight.size.uncompressed"] for layer in found.layers} == {"54"}
    assert [file["path"] for file in json.loads(made.config)["files"]] == ["a.json", "b.json", "c.json"]
    assert artifact.tag("w1", made.digest) == f"cog-weight.w1.{made.digest[7:19]}"
