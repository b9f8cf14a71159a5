"""An image arrives in the registry and becomes a version of a model; the first one makes the model, private."""

from __future__ import annotations

import json
from typing import Any

from modelyard import errors
from modelyard.accounts import Actor
from modelyard.models.record import Model, is_name
from modelyard.models.service import Models
from modelyard.oci import labels
from modelyard.oci.manifest import parse_config
from modelyard.registry.api import Arrival


class Publishing:
    """What the registry is handed to do when a manifest comes."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def may_write(self, actor: Actor, repository: str) -> bool:
        """Only the owner pushes to `owner/model`."""
        return repository.partition("/")[0] == actor.account.username

    async def may_read(self, actor: Actor, repository: str) -> bool:
        """Whoever may see the model may pull its images."""
        owner, _, name = repository.partition("/")
        if owner == actor.account.username:
            return True
        model = await self._models.get(owner, name)
        return model is not None and model.visible_to(actor.account)

    async def on_manifest(self, arrival: Arrival) -> None:
        """Make a version of an image. Raises Invalid without the labels of a model, Forbidden for others' names."""
        config = parse_config(arrival.config_blob)
        schema = _json(labels.read_cog(config.labels, labels.COG_SCHEMA), "its OpenAPI schema")
        settings = _json(labels.read_cog(config.labels, labels.COG_CONFIG), "its cog.yaml")
        model = await self._model(arrival.actor, arrival.repository)
        await self._models.add_version(
            model.id,
            arrival.digest.removeprefix("sha256:"),
            schema,
            settings,
            labels.read_cog(config.labels, labels.COG_VERSION) or "",
            concurrency=int(config.labels.get(labels.CONCURRENCY) or 1),
            account_id=arrival.actor.account.id,
        )

    async def _model(self, actor: Actor, repository: str) -> Model:
        owner, _, name = repository.partition("/")
        if not is_name(name):
            raise errors.Invalid(
                f"The repository is {repository!r}; a model's is OWNER/NAME.", hint="Push to OWNER/NAME."
            )
        if owner != actor.account.username:
            raise errors.Forbidden(f"{owner} is another account; you are {actor.account.username}.")
        model = await self._models.get(owner, name)
        if model is not None:
            return model
        try:
            return await self._models.create(owner, name)
        except errors.Conflict:  # somebody pushed the same new model at the same moment
            found = await self._models.get(owner, name)
            if found is None:
                raise
            return found


def _json(text: str | None, what: str) -> dict[str, Any]:
    if text is None:
        raise errors.Invalid(
            f"The image has no label with {what}, so it is no model.", hint="Build it with `yard push` or with Cog."
        )
    try:
        value = json.loads(text)
    except ValueError as error:
        raise errors.Invalid(f"The image's label with {what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise errors.Invalid(f"The image's label with {what} is no JSON object.")
    return value
