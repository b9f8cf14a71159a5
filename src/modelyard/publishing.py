"""An image arrives in the registry and becomes a version of a model; the first one makes the model, private."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelyard import errors
from modelyard.accounts import Actor
from modelyard.models.record import Model, NewVersion, is_name
from modelyard.models.service import Models
from modelyard.oci import labels
from modelyard.oci.manifest import parse_config
from modelyard.registry.images import Arrival
from modelyard.registry.problems import ManifestUnknownError

# Under which Cog pushes the image of a bundle before the bundle.
BUNDLED_TAG = "cog-image."
_MOST_CONCURRENT = 10_000


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

    async def on_manifest(self, arrival: Arrival) -> NewVersion | None:
        """The version that an image makes. Raises Invalid without the labels of a model, Forbidden for others' names.

        The image of a bundle comes under a tag of its own; the index that comes after it is what makes the version.
        """
        if arrival.reference.startswith(BUNDLED_TAG):
            return None
        config = parse_config(arrival.config_blob)
        schema = _json(labels.read_cog(config.labels, labels.COG_SCHEMA), "its OpenAPI schema")
        _check_schema(schema)
        settings = _json(labels.read_cog(config.labels, labels.COG_CONFIG), "its cog.yaml")
        if not isinstance(settings.get("build") or {}, dict):
            raise errors.Invalid("The image's label with its cog.yaml has a `build` that is no object.")
        concurrency = _concurrency(config.labels)
        model = await self._model(arrival.actor, arrival.repository)
        return self._models.new_version(
            model.id,
            arrival.digest.removeprefix("sha256:"),
            schema,
            settings,
            _shown(labels.read_cog(config.labels, labels.COG_VERSION) or ""),
            concurrency=concurrency,
            account_id=arrival.actor.account.id,
        )

    def on_pull(self, config_blob: bytes) -> None:
        """What is no image to run is not pulled as one. Raises ManifestUnknownError."""
        try:
            labels.check_base(parse_config(config_blob).labels, labels.NO_IMAGE)
        except labels.NoBaseError as error:
            # docker shows the sentence alone.
            raise ManifestUnknownError(errors.sentences(error.detail, error.hint)) from None

    async def on_delete(self, repository: str, digest: str) -> None:
        """A version's image stays while the version does. Raises Conflict."""
        owner, _, name = repository.partition("/")
        model = await self._models.get(owner, name)
        version_id = digest.removeprefix("sha256:")
        if model is not None and await self._models.version(version_id, model) is not None:
            raise errors.Conflict(
                f"{digest} is a version of {repository}; delete the version, and its image goes with it.",
                hint=f"yard versions delete {repository}:{version_id}",
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
        # What no database keeps, such as half of a character, is found here.
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise errors.Invalid(f"The image's label with {what} is not JSON: {error}") from None
    except RecursionError:
        raise errors.Invalid(f"The image's label with {what} is nested too deeply.") from None
    if not isinstance(value, dict):
        raise errors.Invalid(f"The image's label with {what} is no JSON object.")
    return value


def _check_schema(schema: Mapping[str, Any]) -> None:
    """Raises Invalid for a document that does not say what the model takes."""
    node: Any = schema
    for name in ("components", "schemas", "Input"):
        node = node.get(name) if isinstance(node, dict) else None
    required = node.get("required", []) if isinstance(node, dict) else None
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise errors.Invalid(
            "The image's label with its OpenAPI schema describes no inputs (components.schemas.Input)."
        )


def _concurrency(found: Mapping[str, str]) -> int:
    text = found.get(labels.CONCURRENCY) or "1"
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= _MOST_CONCURRENT):
        raise errors.Invalid(
            f"The image's label {labels.CONCURRENCY} is {text[:50]!r}; a number from 1 to {_MOST_CONCURRENT} is wanted."
        )
    return int(text)


def _shown(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:100]
