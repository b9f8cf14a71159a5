"""A yard's rooms with a housekeeper, without doors: a real database, real folders, and a clock that tests move."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard import ids
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database, Statement
from modelyard.engines.base import Images
from modelyard.files import File, Files
from modelyard.housekeeping.keeper import Housekeeper, make_housekeeper
from modelyard.machine import Seen, SeenInstance
from modelyard.models.record import Model
from modelyard.models.service import Models
from modelyard.oci import labels, manifest
from modelyard.predictions import statements
from modelyard.predictions.inputs import USED_SECONDS, Inputs
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.removal import Removal
from modelyard.predictions.service import Predictions
from modelyard.registry.leaving import Leaving
from modelyard.registry.repositories import Repositories, StoredManifest
from modelyard.registry.uploads import Uploads
from modelyard.settings import Settings, parse
from modelyard.store.environments import LOCK_FILE
from modelyard.store.inventory import lock_key
from modelyard.uses import Uses

DAY = 24 * 3600
ROW = Statement("row", "SELECT * FROM predictions WHERE id = :id")
COUNT = Statement("count", "SELECT COUNT(*) AS rows FROM predictions WHERE data_removed = :removed")
EXAMPLE = Statement("example", "UPDATE models SET default_example_id = :prediction WHERE id = :id")
INSTANCES = Statement("instances", "SELECT id FROM instances ORDER BY id")


class House:
    """What a yard keeps, and who cleans it. `ahead`: how many seconds the clock is ahead of the machine's."""

    def __init__(self, db: Database, folder: Path, **settings: Any) -> None:
        self.db = db
        self.folder = folder / "data"
        self.ahead = 0.0
        self.free_share = 0.5
        self.alive: list[SeenInstance] = []
        self.engine: Images | None = None
        self.blobs = DiskBlobs(self.folder / "blobs", fsync="process")
        self.models = Models(db, self.clock, Leaving(db, self.clock, self.blobs))
        self.files = Files(db, self.blobs, self.clock)
        self.asked, self.relied_on = Uses(USED_SECONDS), Uses(DAY)
        self.outputs = Outputs(self.blobs, b"a secret")
        self.inputs = Inputs(self.files, self.outputs, self.blobs, self.asked)
        self.predictions = Predictions(db=db, folder=self.folder / "journals", clock=self.clock, node="test")
        self.repositories = Repositories(db, self.clock)
        self.uploads = Uploads(self.folder / "uploads")
        for name in ("store/environments", "store/sources", "caches", "instances", "backups", "uploads"):
            (self.folder / name).mkdir(parents=True)
        given = {name: parse(name, value, name) for name, value in settings.items()}
        self.settings = Settings(data=self.folder, database="", **given)

    def clock(self) -> int:
        return time.time_ns() // 1000 + int(self.ahead * 1_000_000)

    def later(self, days: float) -> None:
        self.ahead += days * DAY

    def keeper(self, **settings: Any) -> Housekeeper:
        """A housekeeper of a yard that has just been started."""
        given = {name: parse(name, value, name) for name, value in settings.items()}
        found = Settings(**{**{name: getattr(self.settings, name) for name in Settings._fields}, **given})
        deps: Any = SimpleNamespace(
            blobs=self.blobs,
            files=self.files,
            predictions=self.predictions,
            models=self.models,
            machine=SimpleNamespace(observe=self.observe),
            clock=self.clock,
            removal=Removal(
                db=self.db, blobs=self.blobs, files=self.files, predictions=self.predictions, uses=self.asked
            ),
        )
        return make_housekeeper(
            found,
            self.db,
            deps,
            uploads=self.uploads,
            asked=self.asked,
            relied_on=self.relied_on,
            free_share=lambda: self.free_share,
            images=self.engine,
        )

    def observe(self) -> Seen:
        return Seen(instances=tuple(self.alive), pools=(), cores=1, memory_bytes=0, gpus=())

    # -- predictions

    async def prediction(
        self, *, status: Status = Status.SUCCEEDED, content: bytes | None = b"x", **fields: Any
    ) -> str:
        """A prediction with a row and, unless `content` is None, one output file."""
        now = self.clock()
        prediction_id = ids.new_id() if not self.ahead else ids.first_at(now)[:10] + ids.new_id()[10:]
        output = None
        if content is not None:
            await self.blobs.put(Outputs.key(prediction_id, 0, "out.bin"), content)
            path = self.outputs.path(prediction_id, 0, "out.bin")
            output = b'"%b%b"' % (self.outputs.placeholder, path.encode())
        open_still = status in (Status.STARTING, Status.PROCESSING)
        record = Prediction(
            **{
                "id": prediction_id,
                "account_id": "a",
                "model_id": "m",
                "model": "ada/hello",
                "version_id": "1" * 64,
                "status": status,
                "created_at": now,
                "completed_at": None if open_still else now + 1000,
                "output": output,
                "logs": "said something",
                "input": b'{"text": "hello"}',
                **fields,
            }
        )
        await self.db.run(statements.INSERT, statements.values(record))
        return prediction_id

    async def row(self, prediction_id: str) -> dict[str, Any]:
        row = await self.db.one(ROW, id=prediction_id)
        assert row is not None
        return row

    async def has_output(self, prediction_id: str) -> bool:
        return bool(await self.blobs.list(f"outputs/{prediction_id}"))

    async def file(self, name: str = "in.bin", *, inline: bool = False) -> File:
        return await self.files.create("a", b"content of a file", name=name, inline=inline)

    # -- versions

    async def model(self, name: str = "hello") -> Model:
        return await self.models.get("ada", name) or await self.models.create("ada", name)

    async def version(self, model: Model, layer: bytes, lock: str = "") -> str:
        """A version of one layer as the registry has it after a push; gives its id."""
        described = []
        config = manifest.Config(labels={labels.LOCK: lock, "layer": manifest.digest_of(layer)})
        for kind, content in ((manifest.CONFIG, manifest.render_config(config)), (manifest.LAYER_GZIP, layer)):
            digest = manifest.digest_of(content)
            await self.blobs.put(manifest.blob_key(digest), content)
            await self.repositories.add_blob(model.full_name, digest, len(content))
            described.append(manifest.Descriptor(media_type=kind, digest=digest, size=len(content), annotations={}))
        image = manifest.render(manifest.Manifest(config=described[0], layers=(described[1],)))
        digest = manifest.digest_of(image)
        await self.blobs.put(manifest.blob_key(digest), image)
        version_id = digest.partition(":")[2]
        await self.models.add_version(model.id, version_id, {}, {}, "0.1")
        stored = StoredManifest(
            digest=digest, media_type=manifest.MANIFEST, size=len(image), blob_key=manifest.blob_key(digest)
        )
        await self.repositories.add_manifest(model.full_name, stored, "latest")
        return version_id

    async def weights(self, repository: str, layer: bytes) -> str:
        """A weight's manifest with one layer as the registry has it after an import; gives its digest."""
        described = []
        for kind, content in (("application/vnd.cog.weight.config.v1+json", b"{}"), (manifest.LAYER_TAR, layer)):
            digest = manifest.digest_of(content)
            await self.blobs.put(manifest.blob_key(digest), content)
            await self.repositories.add_blob(repository, digest, len(content))
            described.append(manifest.Descriptor(media_type=kind, digest=digest, size=len(content)))
        weights = manifest.Manifest(
            config=described[0], layers=(described[1],), artifact_type="application/vnd.cog.weight.v1"
        )
        data = manifest.render(weights)
        digest = manifest.digest_of(data)
        await self.blobs.put(manifest.blob_key(digest), data)
        stored = StoredManifest(
            digest=digest, media_type=manifest.MANIFEST, size=len(data), blob_key=manifest.blob_key(digest)
        )
        await self.repositories.add_manifest(repository, stored, f"cog-weight.w.{digest[7:19]}")
        return digest

    def has_layer(self, layer: bytes) -> bool:
        return self.blobs.path(manifest.blob_key(manifest.digest_of(layer))) is not None

    def environment(self, lock: str, name: str = "e") -> Path:
        """A folder like an environment's."""
        folder = self.folder / "store" / "environments" / lock_key(name + lock)
        (folder / "bin").mkdir(parents=True)
        (folder / LOCK_FILE).write_text(lock)
        (folder / "bin" / "python").write_bytes(bytes(1000))
        return folder

    def instance(self, name: str) -> Path:
        """A folder like an instance's."""
        folder = self.folder / "instances" / name
        (folder / "tmp").mkdir(parents=True)
        (folder / "tmp" / "big").write_bytes(bytes(5000))
        (folder / "instance.log").write_text("setting up\n")
        return folder

    def lives(self, instance_id: str, model_id: str = "m", version_id: str = "1" * 64) -> None:
        """An instance of this id runs."""
        self.alive.append(
            SeenInstance(
                id=instance_id,
                model_id=model_id,
                version_id=version_id,
                state="idle",
                since_seconds=1.0,
                concurrency=1,
                memory_bytes=0,
                cpus=1.0,
                gpus=(),
                running=(),
                said="",
            )
        )


@contextlib.contextmanager
def cannot_be_changed(folder: Path) -> Iterator[None]:
    """Nobody may remove the folder or what is in it."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        folder.parent.chmod(0o555)
        yield
        folder.parent.chmod(0o755)
        folder.chmod(0o755)
        return
    if subprocess.run(["chattr", "+i", str(folder)], capture_output=True).returncode:
        pytest.skip("this file system cannot forbid anything to root: run it as another user, or on ext4")
    # It may have another name by then.
    held = os.open(folder, os.O_RDONLY)
    yield
    subprocess.run(["chattr", "-i", f"/proc/{os.getpid()}/fd/{held}/."], check=True)
    os.close(held)
