"""Layers that do not depend on a project's files: environments, our own code, managed weights. Each is made once for a
user, whichever project wants it, and known again by what went into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from modelyard.oci import labels
from modelyard.oci.layers import FAST, Layer, Member, file_layer, write_layer
from modelyard.oci.layout import MAKING, Layout
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, LAYER_TAR, Descriptor
from modelyard.packaging import box
from modelyard.packaging.builders.base import Context
from modelyard.packaging.recipe import WEIGHTS_BYTES, Placed
from modelyard.store import environments, trees
from modelyard.store.environments import Lock
from modelyard.store.trees import Target

# Where things lie in an image.
SERVER: Final = "opt/modelyard/env"
BOX: Final = "opt/modelyard/box"
MODEL: Final = "opt/model"
# What the server in an image needs, for every Python and platform; `make lock` writes it.
SERVER_LOCK: Final = Path(__file__).parent.parent / "server.lock"
# Changed when a layer made from the same inputs would come out otherwise.
_FORMAT = "1"
_NOT_CODE = ("__pycache__",)


class Kept:
    """The layers of one user for images with this Python; `root`: the project, where relative paths of a lock start."""

    def __init__(self, target: Target, root: Path, context: Context, report: Callable[[str], None]) -> None:
        assert context.images is not None  # noqa: S101 - the caller's affair
        self._target = target
        self._root = root
        self._context = context
        self._report = report
        self._folder = context.images
        self._blobs = Layout(context.images)
        (self._folder / "known").mkdir(parents=True, exist_ok=True)

    def server(self) -> tuple[Layer, tuple[str, ...]]:
        """What our server needs beside its code, which it finds in the box."""
        lock = Lock(text=SERVER_LOCK.read_text(), python=self._target.minor)
        return self._environment(lock, SERVER, labels.SERVER_LAYER, {"modelyard-box.pth": f"/{BOX}\n"})

    def model(self, lock: Lock) -> tuple[Layer, tuple[str, ...]]:
        """The model's packages, and what `pip freeze` would say of them."""
        return self._environment(lock, MODEL, labels.ENVIRONMENT_LAYER, {})

    def box(self) -> Layer:
        """`cog` and `modelyard_runner`."""
        members = [
            Member(name=f"{BOX}/{path.relative_to(folder).as_posix()}", path=path)
            for folder in map(Path, box.paths())
            for package in box.PACKAGES
            if (folder / package).is_dir()
            for path in _below(folder / package)
        ]
        parts = [f"{member.name} {_digest(member.path)}" for member in sorted(members, key=lambda one: one.name)]
        return self._packed(_key("box", *parts), members, labels.BOX_LAYER)

    def placed(self, files: Sequence[Placed]) -> Iterator[Layer]:
        """Files for absolute places: small ones together, large ones a layer each."""
        small = [file for file in files if file.size < WEIGHTS_BYTES]
        if small:
            members = [_member(file) for file in small]
            yield self._packed(_key("placed", *_parts(small)), members, labels.PLACED_LAYER)
        for file in sorted(files, key=lambda file: file.name):
            if file.size >= WEIGHTS_BYTES:
                yield self._large(file)

    # -- one layer

    def _environment(self, lock: Lock, prefix: str, kind: str, extra: dict[str, str]) -> tuple[Layer, tuple[str, ...]]:
        target = self._target
        parts = (lock.text, target.python, target.minor, target.architecture, json.dumps(extra), *self._local(lock))
        key = _key(prefix, *parts)
        with environments.locked(
            self._folder / "known" / f"{key}.lock", self._report, "Waiting for another command that makes this layer"
        ):
            known = self._known(key)
            if known is None:
                known = self._make(key, lock, prefix, kind, extra)
        return self._layer(known, kind), tuple(known["freeze"])

    def _make(self, key: str, lock: Lock, prefix: str, kind: str, extra: dict[str, str]) -> dict[str, Any]:
        what = "the server" if kind == labels.SERVER_LAYER else "the model"
        self._report(f"Installing the packages of {what} for Python {self._target.minor}")
        folder = self._folder / MAKING / key
        try:
            freeze = trees.make(
                lock,
                self._target,
                folder,
                machine=self._context.machine,
                environ=self._context.environ,
                report=self._report,
                base=self._root,
            )
            for name, text in extra.items():
                (folder / "lib" / f"python{self._target.minor}" / "site-packages" / name).write_text(text)
            members = [
                Member(name=f"{prefix}/{path.relative_to(folder).as_posix()}", path=path) for path in _below(folder)
            ]
            layer = self._write(key, members, kind)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._keep(key, layer, freeze=list(freeze))

    def _local(self, lock: Lock) -> Iterator[str]:
        """Archives of the project that the lock names: what is in them."""
        for line in lock.text.splitlines():
            if line.startswith("./"):
                yield _digest(self._root / line.partition(" ")[0])

    def _packed(self, key: str, members: Sequence[Member], kind: str) -> Layer:
        known = self._known(key)
        return self._layer(known or self._keep(key, self._write(key, members, kind)), kind)

    def _large(self, file: Placed) -> Layer:
        key = _key("large", *_parts([file]))
        known = self._recall(key)
        layer = file_layer(_member(file), {LAYER_KIND: labels.PLACED_LAYER}, known["digest"] if known else None)
        if known is None:
            self._keep(key, layer)
        return layer

    def _write(self, key: str, members: Iterable[Member], kind: str) -> Layer:
        into = self._folder / f"{key}.{os.getpid()}.tar.gz"
        layer = write_layer(members, into, {LAYER_KIND: kind}, level=FAST)
        self._blobs.take(into, layer.descriptor.digest)
        return layer

    def _layer(self, known: dict[str, Any], kind: str) -> Layer:
        descriptor = Descriptor(
            media_type=known["media_type"],
            digest=known["digest"],
            size=known["size"],
            annotations={LAYER_KIND: kind},
        )
        return Layer(descriptor=descriptor, diff_id=known["diff_id"], path=self._blobs.path(descriptor.digest))

    # -- what is known

    def _known(self, key: str) -> dict[str, Any] | None:
        """What is known of a layer whose archive is still there."""
        known = self._recall(key)
        if known is None or self._context.anew:
            return None
        there = Descriptor(media_type=known["media_type"], digest=known["digest"], size=known["size"])
        return known if self._blobs.has(there) else None

    def _recall(self, key: str) -> dict[str, Any] | None:
        try:
            known = json.loads((self._folder / "known" / f"{key}.json").read_text())
            complete = {"digest", "size", "diff_id", "media_type"} <= known.keys()
        except (OSError, ValueError, AttributeError):
            return None
        return known if complete else None

    def _keep(self, key: str, layer: Layer, **more: Any) -> dict[str, Any]:
        descriptor = layer.descriptor
        known = {
            "digest": descriptor.digest,
            "size": descriptor.size,
            "diff_id": layer.diff_id,
            "media_type": LAYER_TAR if layer.head else LAYER_GZIP,
            **more,
        }
        partial = self._folder / "known" / f"{key}.{os.getpid()}.tmp"
        partial.write_text(json.dumps(known))
        partial.replace(self._folder / "known" / f"{key}.json")
        return known


def _below(folder: Path) -> Iterator[Path]:
    """A folder and all that is in it, but what Python makes of code by itself."""
    yield folder
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_CODE]
        yield from (Path(parent) / name for name in (*folders, *files) if not name.endswith(".pyc"))


def _member(file: Placed) -> Member:
    return Member(name=file.name.lstrip("/"), path=file.path)


def _parts(files: Iterable[Placed]) -> list[str]:
    return sorted(f"{file.name} {file.digest}" for file in files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join((_FORMAT, *parts)).encode()).hexdigest()
