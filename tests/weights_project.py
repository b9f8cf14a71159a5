"""A project with weights, as it is after an import that somebody else did: cog.yaml, weights.lock, layers."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.oci.client import credentials, reference, remote
from modelyard.oci.manifest import LAYER_TAR, digest_of
from modelyard.weights import lock
from modelyard.weights.cache import Cache

MANIFEST = digest_of(b"a manifest")
READS = """
import os
from pathlib import Path


class Runner:
    def setup(self) -> None:
        self.seen = sorted(os.listdir("/src/weights/base"))

    def run(self, path: str = "/src/weights/base/a.txt") -> str:
        return f"{self.seen} {Path(path).read_text()}"
"""
FILES = {"a.txt": b"all of a", "sub/b.txt": b"all of b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One weight: where it is to be seen, its files, and its layer as bytes."""

    name: str
    target: str
    files: Mapping[str, bytes]

    @property
    def layer(self) -> bytes:
        return archive(self.files)

    @property
    def locked(self) -> lock.LockedWeight:
        layer, size = self.layer, sum(map(len, self.files.values()))
        digest = digest_of(layer)
        files = tuple(
            lock.LockedFile(path=path, size=len(data), digest=digest_of(data), layer=digest)
            for path, data in self.files.items()
        )
        return lock.LockedWeight(
            name=self.name,
            target=self.target,
            sources=(lock.LockedSource(uri="file://./original", fingerprint=digest_of(b"original")),),
            imported_at="2026-01-01T00:00:00Z",
            digest=MANIFEST,
            set_digest=digest_of(b"set"),
            size=size,
            size_compressed=len(layer),
            files=files,
            layers=(
                lock.LockedLayer(digest=digest, media_type=LAYER_TAR, size=len(layer), size_uncompressed=len(layer)),
            ),
        )


def archive(files: Mapping[str, bytes], *, compressed: bool = False) -> bytes:
    """A layer with these files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if compressed else "w") as members:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            members.addfile(member, io.BytesIO(data))
    return made.getvalue()


BASE = Weight(name="base", target="/src/weights/base", files=FILES)


def write(folder: Path, *weights: Weight, model: str = "localhost:1/yard/m", code: str = READS) -> None:
    """The project's files in `folder`."""
    lines = ["run: run.py:Runner", f"model: {model}", "weights:"]
    for weight in weights:
        lines += [f"  - name: {weight.name}", f"    target: {weight.target}", "    source: {uri: ./original}"]
    (folder / "cog.yaml").write_text("\n".join([*lines, ""]))
    (folder / "run.py").write_text(code)
    lock.save(lock.path_of(folder), lock.Lock(weights=tuple(weight.locked for weight in weights)))


def keep(root: Path, *weights: Weight) -> Cache:
    """A store below `root` that has all files."""
    cache = Cache(root)
    for weight in weights:
        for data in weight.files.values():
            cache.add([data])
    return cache


def send(registry: str, token: str, repository: str, *blobs: bytes) -> None:
    """Let a yard's registry have blobs."""
    access = credentials.Access(token=token, url=f"http://{registry}")
    wanted = reference.parse(f"{registry}/{repository}", "the repository")
    with remote.open_repository(wanted, lambda _: access) as opened:
        for blob in blobs:
            opened.send_bytes(f"sha256:{hashlib.sha256(blob).hexdigest()}", blob)
