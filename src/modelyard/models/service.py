"""The use cases of models and versions. Both are read far more often than written, so memory holds them; a write makes
every node forget what it changed.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from modelyard import errors, ids
from modelyard.accounts import Account
from modelyard.db.base import Database, Tx
from modelyard.models import statements
from modelyard.models.interface import Interface
from modelyard.models.record import TEXTS, Direction, Images, Model, NewVersion, Schema, Sort, Version, Visibility

_TOPIC, _DELETED = "models", "deleted_versions"
_REMEMBERED = 10_000


class Models:
    """Models and versions. `clock`: microseconds since 1970; `images`: where those of versions are, and leave with
    them; None: nowhere."""

    def __init__(self, db: Database, clock: Callable[[], int], images: Images | None = None) -> None:
        self._db = db
        self._images = images
        self._clock = clock
        self._by_name: dict[tuple[str, str], Model] = {}
        self._by_id: dict[str, Model] = {}
        self._versions: dict[tuple[str, str], Version] = {}
        self._interfaces: dict[tuple[str, str], Interface] = {}
        # Counts what was forgotten, so that what was read before a change is not remembered after it.
        self.generation = 0
        self.on_forget: list[Callable[[], None]] = []
        # Told the ids of the model and of its version that was deleted, by whichever process.
        self.on_deleted: list[Callable[[str, str], None]] = []
        db.listen(_TOPIC, self._forget)
        db.listen(_DELETED, partial(_tell, self.on_deleted))

    def _forget(self, model_id: str) -> None:
        model = self._by_id.pop(model_id, None)
        if model is not None:
            self._by_name.pop((model.owner, model.name), None)
        for key in [key for key in self._versions if key[0] == model_id]:
            del self._versions[key]
        self.generation += 1
        for callback in self.on_forget:
            callback()

    async def _changed(self, model_id: str) -> None:
        self._forget(model_id)
        await self._db.notify(_TOPIC, model_id)

    def _keep(self, model: Model, generation: int) -> Model:
        if generation == self.generation:
            self._by_name[model.owner, model.name] = model
            self._by_id[model.id] = model
        return model

    # -- models

    async def create(
        self, owner: str, name: str, *, visibility: Visibility = "private", hardware: str = "cpu", **texts: str | None
    ) -> Model:
        """A new model without versions; `texts` are its descriptive fields (`TEXTS`). Raises Conflict if it exists."""
        now = self._clock()
        model = Model(
            id=ids.new_id(),
            owner=owner,
            name=name,
            visibility=visibility,
            hardware=hardware,
            created_at=now,
            updated_at=now,
            **_texts(texts),
        )
        await self._db.run(statements.INSERT, {field: getattr(model, field) for field in Model.__dataclass_fields__})
        return model

    async def get(self, owner: str, name: str) -> Model | None:
        """The model with this name."""
        known = self._by_name.get((owner, name))
        if known is not None:
            return known
        generation = self.generation
        row = await self._db.one(statements.GET, owner=owner, name=name)
        return None if row is None else self._keep(statements.model(row), generation)

    async def get_by_id(self, model_id: str) -> Model | None:
        """The model with this id."""
        known = self._by_id.get(model_id)
        if known is not None:
            return known
        generation = self.generation
        row = await self._db.one(statements.BY_ID, id=model_id)
        return None if row is None else self._keep(statements.model(row), generation)

    async def fresh(self, owner: str, name: str) -> Model | None:
        """The model as its row says now: with its count of runs."""
        generation = self.generation
        row = await self._db.one(statements.GET, owner=owner, name=name)
        return None if row is None else self._keep(statements.model(row), generation)

    async def list(
        self,
        account: Account,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        sort: Sort = "latest_version_created_at",
        direction: Direction = "desc",
    ) -> builtins.list[Model]:
        """A page of what the account may see; `after` is (`sort_key`, id) of the last one seen."""
        first = (-1, "") if direction == "asc" else (2**62, "")
        at, last = after or first
        statement = statements.LISTS[sort, direction]
        rows = await self._db.all(statement, owner=account.username, at=at, id=last, limit=limit)
        return [statements.model(row) for row in rows]

    async def search(self, account: Account, text: str, *, limit: int) -> builtins.list[Model]:
        """Models whose name or description holds `text`, the most used first."""
        plain = text.strip().lower()
        for special in "!%_":
            plain = plain.replace(special, "!" + special)
        rows = await self._db.all(statements.SEARCH, owner=account.username, pattern=f"%{plain}%", limit=limit)
        return [statements.model(row) for row in rows]

    async def update(self, model: Model, **texts: str | None) -> Model:
        """Change descriptive fields (`TEXTS`); what is not named stays."""
        values: dict[str, Any] = {name: getattr(model, name) for name in TEXTS}
        await self._db.run(statements.UPDATE, {**values, **_texts(texts), "id": model.id, "updated_at": self._clock()})
        await self._changed(model.id)
        changed = await self.get_by_id(model.id)
        if changed is None:
            raise errors.NotFound(f"Model {model.full_name} was deleted meanwhile.")
        return changed

    async def delete(self, model: Model) -> None:
        """Delete a private model without versions, its secrets and its images. Raises Forbidden for any other."""
        if model.visibility != "private":
            raise errors.Forbidden(f"{model.full_name} is public; only a private model can be deleted.")

        def delete(tx: Tx) -> None:
            if tx.one(statements.VERSIONS, model_id=model.id, before_at=2**62, before_id="", limit=1):
                raise errors.Forbidden(f"{model.full_name} has versions.", hint="Delete its versions first.")
            for statement in (statements.DELETE, statements.DELETE_SECRETS):
                tx.run(statement, {"id": model.id})

        if self._images is None:
            await self._db.transaction(delete)
        else:
            await self._images.clear(model.full_name, delete)
        await self._changed(model.id)

    # -- versions

    async def add_version(
        self,
        model_id: str,
        version_id: str,
        schema: Schema,
        config: Mapping[str, Any],
        cog_version: str,
        *,
        concurrency: int = 1,
        account_id: str = "",
    ) -> Version:
        """A new version, from now on the model's latest. Adding one that is there changes nothing but that."""
        new = self.new_version(
            model_id, version_id, schema, config, cog_version, concurrency=concurrency, account_id=account_id
        )
        await self._db.transaction(new.write)
        await new.done()
        added = await self._db.one(statements.VERSION, model_id=model_id, id=version_id)
        if added is None:
            raise errors.ModelyardError(f"Version {version_id} could not be read back.")
        return statements.version(added)

    def new_version(
        self,
        model_id: str,
        version_id: str,
        schema: Schema,
        config: Mapping[str, Any],
        cog_version: str,
        *,
        concurrency: int = 1,
        account_id: str = "",
    ) -> NewVersion:
        """The same, to be written in somebody else's transaction."""
        now = self._clock()
        row = {
            "model_id": model_id,
            "id": version_id,
            "created_at": now,
            "cog_version": cog_version,
            "openapi_schema": msgspec.json.encode(schema).decode(),
            "config": msgspec.json.encode(config).decode(),
            "concurrency": concurrency,
            "account_id": account_id,
        }

        def add(tx: Tx) -> None:
            tx.run(statements.INSERT_VERSION, row)
            tx.run(statements.SET_LATEST, {"model_id": model_id, "version_id": version_id, "at": now})

        return NewVersion(write=add, done=lambda: self._changed(model_id))

    async def version(self, version_id: str, model: Model) -> Version | None:
        """One version of a model."""
        key = (model.id, version_id)
        known = self._versions.get(key)
        if known is not None:
            return known
        generation = self.generation
        row = await self._db.one(statements.VERSION, model_id=model.id, id=version_id)
        if row is None:
            return None
        version = statements.version(row)
        if generation == self.generation:
            self._versions[key] = version
        return version

    def peek_interface(self, model_id: str, version_id: str) -> Interface | None:
        """What `interface_of` would say, if memory holds it."""
        key = (model_id, version_id)
        version = self._versions.get(key)
        return version.interface if version is not None else self._interfaces.get(key)

    async def interface_of(self, model_id: str, version_id: str) -> Interface:
        """What a version takes and gives, also of one that was deleted: its predictions are still shown."""
        key = (model_id, version_id)
        known = self._interfaces.get(key)
        if known is None:
            row = await self._db.one(statements.SCHEMA, model_id=model_id, id=version_id)
            known = Interface() if row is None else statements.interface_of(row)
            if row is not None and len(self._interfaces) < _REMEMBERED:
                self._interfaces[key] = known
        return known

    async def latest(self, model: Model) -> Version | None:
        """The version that runs when none is named."""
        return None if model.latest_version_id is None else await self.version(model.latest_version_id, model)

    async def versions(
        self, model: Model, *, limit: int, before: tuple[int, str] | None = None
    ) -> builtins.list[Version]:
        """A page of versions, newest first; `before` is (created_at, id) of the last one seen."""
        before_at, before_id = before or (2**62, "")
        rows = await self._db.all(
            statements.VERSIONS, model_id=model.id, before_at=before_at, before_id=before_id, limit=limit
        )
        return [statements.version(row) for row in rows]

    async def models_of(self, version_id: str) -> builtins.list[Model]:
        """The models that have this version, the one that got it first first."""
        return [statements.model(row) for row in await self._db.all(statements.BY_VERSION, id=version_id)]

    async def delete_version(self, model: Model, version_id: str) -> None:
        """Take a version away, and its image. Raises NotFound, and Conflict while predictions of it have not ended."""
        key = {"model_id": model.id, "id": version_id}

        def delete(tx: Tx) -> None:
            if tx.one(statements.VERSION_IN_USE, model_id=model.id, version_id=version_id):
                raise errors.Conflict("Predictions of this version are waiting or running.", hint="Cancel them first.")
            if not tx.run(statements.DELETE_VERSION, {**key, "deleted_at": self._clock()}):
                raise errors.NotFound("There is no such version.")
            tx.run(statements.RESET_LATEST, {"model_id": model.id})

        async def versions() -> set[str]:
            return {f"sha256:{row['id']}" for row in await self._db.all(statements.IDS, model_id=model.id)}

        if self._images is None:
            await self._db.transaction(delete)
        else:
            await self._images.remove(model.full_name, f"sha256:{version_id}", versions, delete)
        await self._changed(model.id)
        await self._db.notify(_DELETED, f"{model.id} {version_id}")


def _tell(callbacks: Iterable[Callable[[str, str], None]], payload: str) -> None:
    model_id, _, version_id = payload.partition(" ")
    for callback in callbacks:
        callback(model_id, version_id)


def _texts(texts: Mapping[str, str | None]) -> dict[str, Any]:
    unknown = set(texts) - set(TEXTS)
    if unknown:
        raise TypeError(f"not fields of a model: {', '.join(sorted(unknown))}")
    return dict(texts)
