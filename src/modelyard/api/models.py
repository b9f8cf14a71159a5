"""Models and versions over HTTP."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.api.base import (
    MODELS_PAGE,
    PAGE,
    SMALL_BODY_BYTES,
    Deps,
    actor_of,
    json_object,
    json_type,
    model_of,
    own,
)
from modelyard.db.base import UniqueViolation
from modelyard.models.record import TEXTS, Direction, Model, Sort, Version, Visibility, is_name, is_version_id, sort_key

_SORTS = ("model_created_at", "latest_version_created_at")
_DIRECTIONS = ("asc", "desc")
_MAX_TEXT = 10_000
_MAX_README = 500_000


def version_document(version: Version) -> dict[str, Any]:
    """A version as callers see it."""
    return {
        "id": version.id,
        "created_at": rest.time_text(version.created_at),
        "cog_version": version.cog_version,
        "openapi_schema": version.schema,
    }


async def model_document(deps: Deps, model: Model, origin: str) -> dict[str, Any]:
    """A model as callers see it, with its latest version whole."""
    latest = await deps.models.latest(model)
    return {
        "url": f"{origin}/{model.full_name}",
        "owner": model.owner,
        "name": model.name,
        "description": model.description,
        "visibility": model.visibility,
        "is_official": False,
        "github_url": model.github_url,
        "paper_url": model.paper_url,
        "license_url": model.license_url,
        "weights_url": model.weights_url,
        "run_count": model.run_count,
        "cover_image_url": model.cover_image_url,
        "default_example": await _default_example(deps, model, origin),
        "latest_version": None if latest is None else version_document(latest),
        "created_at": rest.time_text(model.created_at),
    }


async def _default_example(deps: Deps, model: Model, origin: str) -> Any:
    record = await deps.predictions.get(model.default_example_id) if model.default_example_id else None
    if record is None:
        return None
    interface = await deps.models.interface_of(record.model_id, record.version_id)
    return deps.renderer.document(record, origin, interface)


async def _models_page(deps: Deps, request: Request, models: list[Model], more: str | None) -> Response:
    origin = deps.addresses.origin(request.scope)
    return rest.page([await model_document(deps, model, origin) for model in models], more)


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/models`: the public ones and the caller's own."""
    actor = await actor_of(deps, request)
    sort = cast(Sort, _choice(request, "sort_by", _SORTS, "latest_version_created_at"))
    direction = cast(Direction, _choice(request, "sort_direction", _DIRECTIONS, "desc"))
    after = rest.parse_cursor(request.query_params.get("cursor"))
    found = await deps.models.list(actor.account, limit=MODELS_PAGE + 1, after=after, sort=sort, direction=direction)
    more = None
    if len(found) > MODELS_PAGE:
        last = found[MODELS_PAGE - 1]
        origin = deps.addresses.origin(request.scope)
        more = rest.next_url(origin, request, rest.cursor(sort_key(last, sort), last.id))
    return await _models_page(deps, request, found[:MODELS_PAGE], more)


def _choice(request: Request, name: str, choices: tuple[str, ...], default: str) -> str:
    value = request.query_params.get(name) or default
    if value not in choices:
        raise errors.BadRequest(f"Query parameter {name!r} is {value[:100]!r}; {' or '.join(choices)} is wanted.")
    return value


async def search(deps: Deps, request: Request) -> Response:
    """`QUERY /v1/models`: the body is what to look for, as plain text or as a JSON string."""
    actor = await actor_of(deps, request)
    text = (await rest.read_body(request.receive, SMALL_BODY_BYTES)).decode("utf-8", "replace")
    try:
        decoded = msgspec.json.decode(text)
    except ValueError:
        decoded = text
    query = decoded if isinstance(decoded, str) else text
    found = await deps.models.search(actor.account, query.replace("\x00", ""), limit=MODELS_PAGE)
    return await _models_page(deps, request, found, None)


async def create(deps: Deps, request: Request) -> Response:
    """`POST /v1/models`."""
    actor = await actor_of(deps, request)
    body = await json_object(request)
    failures = _creation_failures(deps, body, actor)
    texts, wrong = _texts(body, (*TEXTS, "owner", "name", "visibility", "hardware"))
    _refuse(failures + wrong)
    owner, name = str(body["owner"]), str(body["name"])
    visibility: Visibility = "public" if body["visibility"] == "public" else "private"
    try:
        await deps.models.create(
            owner, name, visibility=visibility, hardware=str(body.get("hardware") or "cpu"), **texts
        )
    except UniqueViolation:
        _refuse([("/name", f"a model {owner}/{name} exists already")])
    model = await deps.models.get(owner, name)
    if model is None:
        raise errors.Conflict(f"Model {owner}/{name} was deleted at once.")
    origin = deps.addresses.origin(request.scope)
    headers = {"location": f"{origin}/v1/models/{model.full_name}"}
    return rest.json_response(await model_document(deps, model, origin), 201, headers)


def _creation_failures(deps: Deps, body: dict[str, object], actor: Actor) -> list[tuple[str, str]]:
    failures = [(f"/{name}", "is required") for name in ("owner", "name", "visibility") if body.get(name) is None]
    owner, name, visibility = body.get("owner"), body.get("name"), body.get("visibility")
    if owner is not None and owner != actor.account.username:
        failures.append(("/owner", f"must be {actor.account.username}, the account of this token"))
    if name is not None and not (isinstance(name, str) and is_name(name)):
        failures.append(("/name", "must be lower-case letters and digits, with single . _ or - between them"))
    if visibility is not None and visibility not in ("public", "private"):
        failures.append(("/visibility", "must be public or private"))
    sku = body.get("hardware")
    if sku is not None and (not isinstance(sku, str) or sku not in deps.hardware):
        shown = str(sku)[:100]
        failures.append(
            ("/hardware", f"{shown} is not a valid hardware SKU. Your options are: {', '.join(deps.hardware)}")
        )
    return failures


def _texts(body: dict[str, object], known: tuple[str, ...]) -> tuple[dict[str, str | None], list[tuple[str, str]]]:
    texts: dict[str, str | None] = {}
    failures = [(f"/{name[:100]}", "is not a field of a model that can be set") for name in body if name not in known]
    for name in TEXTS:
        if name not in body or name not in known:
            continue
        value = body[name]
        if value is not None and not isinstance(value, str):
            failures.append((f"/{name}", f"must be a string or null, not {json_type(value)}"))
            continue
        failures += _text_failures(name, value or "")
        texts[name] = value
    return texts, failures


def _text_failures(name: str, value: str) -> list[tuple[str, str]]:
    limit = _MAX_README if name == "readme" else _MAX_TEXT
    if len(value) > limit:
        return [(f"/{name}", f"is {len(value)} characters long; at most {limit} are kept")]
    if "\x00" in value:
        return [(f"/{name}", "must not contain the character U+0000")]
    if not name.endswith("_url") or not value:
        return []
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    return [] if good else [(f"/{name}", "must be an http or https address")]


def _refuse(failures: list[tuple[str, str]]) -> None:
    if failures:
        lines = "\n".join(f"- {pointer.removeprefix('/')}: {said}" for pointer, said in failures)
        raise errors.BadRequest(
            f"The following errors occurred:\n{lines}",
            title="Validation failed",
            errors=[{"pointer": pointer, "detail": said} for pointer, said in failures],
        )


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/models/{owner}/{name}`."""
    actor = await actor_of(deps, request)
    await model_of(deps, request, actor)
    # Memory's copy does not count runs.
    model = await deps.models.fresh(request.path_params["owner"], request.path_params["name"])
    if model is None:
        raise errors.NotFound("There is no such model.")
    return rest.json_response(await model_document(deps, model, deps.addresses.origin(request.scope)))


async def update(deps: Deps, request: Request) -> Response:
    """`PATCH /v1/models/{owner}/{name}`: its descriptive fields."""
    actor = await actor_of(deps, request)
    model = await model_of(deps, request, actor)
    own(model, actor)
    texts, failures = _texts(await json_object(request), TEXTS)
    _refuse(failures)
    changed = await deps.models.update(model, **texts)
    return rest.json_response(await model_document(deps, changed, deps.addresses.origin(request.scope)))


async def delete(deps: Deps, request: Request) -> Response:
    """`DELETE /v1/models/{owner}/{name}`: a private one without versions."""
    actor = await actor_of(deps, request)
    model = await model_of(deps, request, actor)
    own(model, actor)
    await deps.models.delete(model)
    return Response(status_code=204)


async def readme(deps: Deps, request: Request) -> Response:
    """`GET /v1/models/{owner}/{name}/readme`: Markdown as plain text."""
    model = await model_of(deps, request, await actor_of(deps, request))
    if model.readme is None:
        raise errors.NotFound(f"{model.full_name} has no README.")
    return Response(model.readme, media_type="text/plain", headers={"cache-control": "no-store"})


async def versions(deps: Deps, request: Request) -> Response:
    """`GET /v1/models/{owner}/{name}/versions`: newest first."""
    model = await model_of(deps, request, await actor_of(deps, request))
    before = rest.parse_cursor(request.query_params.get("cursor"))
    found = await deps.models.versions(model, limit=PAGE + 1, before=before)
    more = None
    if len(found) > PAGE:
        last = found[PAGE - 1]
        origin = deps.addresses.origin(request.scope)
        more = rest.next_url(origin, request, rest.cursor(last.created_at, last.id))
    return rest.page([version_document(version) for version in found[:PAGE]], more)


async def _version_of(deps: Deps, request: Request, model: Model) -> Version:
    version_id = request.path_params["version_id"]
    version = await deps.models.version(version_id, model) if is_version_id(version_id) else None
    if version is None:
        raise errors.NotFound(f"{model.full_name} has no such version.")
    return version


async def get_version(deps: Deps, request: Request) -> Response:
    """`GET /v1/models/{owner}/{name}/versions/{version_id}`."""
    model = await model_of(deps, request, await actor_of(deps, request))
    return rest.json_response(version_document(await _version_of(deps, request, model)))


async def delete_version(deps: Deps, request: Request) -> Response:
    """`DELETE /v1/models/{owner}/{name}/versions/{version_id}`: of a private model, when nothing of it is running."""
    actor = await actor_of(deps, request)
    model = await model_of(deps, request, actor)
    own(model, actor)
    version = await _version_of(deps, request, model)
    if model.visibility != "private":
        raise errors.Forbidden(f"{model.full_name} is public; only versions of a private model can be deleted.")
    await deps.models.delete_version(model, version.id)
    return Response(status_code=202)
