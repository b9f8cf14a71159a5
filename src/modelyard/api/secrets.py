"""Secrets of models over HTTP: set, listed by name, taken away, for their model's owner. No answer holds a value."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api.base import Deps, actor_of, invalid, json_object, json_type, model_of, own
from modelyard.models.record import Model
from modelyard.secrets import ModelSecret


def _document(secret: ModelSecret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "created_at": rest.time_text(secret.created_at),
        "updated_at": rest.time_text(secret.updated_at),
    }


async def _owned(deps: Deps, request: Request) -> Model:
    actor = await actor_of(deps, request)
    model = await model_of(deps, request, actor)
    own(model, actor)
    return model


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/models/{owner}/{name}/secrets`: names and times."""
    model = await _owned(deps, request)
    return rest.page([_document(secret) for secret in await deps.model_secrets.list(model.id)], None)


async def set_(deps: Deps, request: Request) -> Response:
    """`PUT /v1/models/{owner}/{name}/secrets/{secret}`: its value, as `{"value": TEXT}`."""
    model = await _owned(deps, request)
    body = await json_object(request)
    value = body.get("value")
    failures = [("additional_property_not_allowed", key[:100], "Is not known here") for key in body if key != "value"]
    if "value" not in body:
        failures.append(("required", "value", "value is required"))
    elif not isinstance(value, str):
        failures.append(("invalid_type", "value", f"Invalid type. Expected: string, given: {json_type(value)}"))
    if failures or not isinstance(value, str):
        raise invalid(failures)
    kept = await deps.model_secrets.set(model.id, request.path_params["secret"], value)
    return rest.json_response(_document(kept))


async def delete(deps: Deps, request: Request) -> Response:
    """`DELETE /v1/models/{owner}/{name}/secrets/{secret}`."""
    model = await _owned(deps, request)
    await deps.model_secrets.delete(model.id, request.path_params["secret"])
    return Response(status_code=204)
