"""A model's page: the form and what comes of it, and the tabs beside it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.machine import Seen
from modelyard.models.record import Model, Version, is_version_id
from modelyard.predictions.listing import Filter
from modelyard.predictions.record import Prediction, Status
from modelyard.web import code as codes
from modelyard.web import form as forms
from modelyard.web import home, pages, readme, shown
from modelyard.web.attached import filled
from modelyard.web.base import Web, model_of, prediction_of, seen_by, visitor, with_query
from modelyard.web.prediction import Shown, inputs_of, look

# The address of a page names the prediction that it shows by this; no input of Python code can be called so.
SHOWN = "prediction-id"
VERSIONS = 50
RECENT = 12
_LONGEST_INPUT = 2 * 1024 * 1024
TABS = ("api", "examples", "versions", "readme")


async def run(web: Web, request: Request) -> Response:
    """`GET /{owner}/{name}`: the form filled from the address or from the prediction that it names, and the output."""
    actor = await visitor(web, request)
    model = await model_of(web, request, actor)
    version = await _version(web, request, model)
    record = await _shown(web, request, actor)
    values: dict[str, Any] = {}
    if record is not None:
        values = await inputs_of(web, record)
    if version is not None:
        values |= forms.from_query(request.query_params.multi_items(), version.schema)
    form = None if version is None else forms.read(version.schema, values)
    return await _page(
        web,
        request,
        actor,
        model,
        "run",
        version=version,
        form=form,
        run=None if record is None or actor is None else await look(web, actor, record),
        record=record,
    )


async def tab(web: Web, request: Request) -> Response:
    """`GET /{owner}/{name}/{tab}`: API, examples, versions, README."""
    actor = await visitor(web, request)
    model = await model_of(web, request, actor)
    name = request.path_params["tab"]
    if name not in TABS:
        raise errors.NotFound(f"A model has no page {name[:100]!r}.", hint=f"There are: {', '.join(TABS)}.")
    version = await _version(web, request, model)
    filled = {"api": _api, "examples": _examples, "versions": _versions, "readme": _readme}[name]
    return await _page(
        web, request, actor, model, name, version=version, **await filled(web, request, actor, model, version)
    )


async def _page(web: Web, request: Request, actor: Actor | None, model: Model, tab: str, **values: Any) -> Response:
    version: Version | None = values.get("version")
    seen, _ = await seen_by(web, actor)
    return pages.page(
        web,
        request,
        actor,
        "model.html",
        data=f"/v1/models/{model.full_name}",
        model=model,
        tab=tab,
        shown=None if version is None else home.states(_of(seen, version)).get(model.id),
        hardware=web.hardware.get(model.hardware, model.hardware),
        named=request.query_params.get("version"),
        **values,
    )


def _of(seen: Seen, version: Version) -> Seen:
    """What runs of this version: others of the same model say nothing of how long this one would take to start."""
    instances = tuple(each for each in seen.instances if each.version_id == version.id)
    return dataclasses.replace(
        seen, instances=instances, pools=tuple(pool for pool in seen.pools if pool.version_id == version.id)
    )


async def _version(web: Web, request: Request, model: Model) -> Version | None:
    """The version that the address names, else the latest. Raises NotFound."""
    wanted = request.query_params.get("version")
    if wanted is None or not is_version_id(wanted):
        return await web.models.latest(model)
    version = await web.models.version(wanted, model)
    if version is None:
        raise errors.NotFound(f"{model.full_name} has no version {wanted[:12]}.", hint="Its versions have a page.")
    return version


async def _shown(web: Web, request: Request, actor: Actor | None) -> Prediction | None:
    prediction_id = request.query_params.get(SHOWN)
    if prediction_id is None or actor is None:
        return None
    return await prediction_of(web, prediction_id, actor)


async def _api(
    web: Web, request: Request, actor: Actor | None, model: Model, version: Version | None
) -> dict[str, Any]:
    if version is None:
        return {"samples": (), "form": None, "schema": ""}
    values = forms.from_query(request.query_params.multi_items(), version.schema)
    form = forms.read(version.schema, values)
    call = _call(web, request, model, version, codes.example(form))
    output = version.schema.get("components", {}).get("schemas", {}).get("Output")
    text = "" if output is None else msgspec.json.format(msgspec.json.encode(output), indent=2).decode()
    return {"samples": codes.samples(call), "form": form, "schema": text}


def _call(web: Web, request: Request, model: Model, version: Version, inputs: dict[str, Any]) -> codes.Call:
    return codes.Call(
        origin=web.addresses.origin(request.scope),
        model=model.full_name,
        version=None if version.id == model.latest_version_id else version.id,
        iterator=version.interface.streams_text,
        inputs=inputs,
    )


async def code(web: Web, request: Request) -> Response:
    """`POST /{owner}/{name}/code`: the call with the inputs of the body (a JSON object), in each language."""
    actor = await visitor(web, request)
    model = await model_of(web, request, actor)
    version = await _version(web, request, model)
    if version is None:
        raise errors.NotFound(f"{model.full_name} has no version yet.")
    try:
        inputs = msgspec.json.decode(await rest.read_body(request.receive, _LONGEST_INPUT), type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise errors.BadRequest(f"The inputs are not a JSON object: {error}") from None
    call = _call(web, request, model, version, inputs)
    return pages.html(request, pages.render("_code.html", samples=codes.samples(call), editable=True))


async def _examples(
    web: Web, request: Request, actor: Actor | None, model: Model, version: Version | None
) -> dict[str, Any]:
    records: list[Prediction] = []
    if actor is not None:
        wanted = Filter(account_id=actor.account.id, model_id=model.id, statuses=(Status.SUCCEEDED,))
        done = await web.predictions.list(wanted, limit=RECENT)
        records = [await web.predictions.get(one.id) or one for one in done]
    return {"runs": [await _example(web, actor, record) for record in records if actor is not None]}


async def _example(web: Web, actor: Actor, record: Prediction) -> tuple[Prediction, Shown, str]:
    """A run, what came of it, and its inputs in a line."""
    views = {name: await filled(web, actor, shown.of(value)) for name, value in (await inputs_of(web, record)).items()}
    parts = [f"{name}: {view.name or view.text or view.kind}" for name, view in views.items()]
    return record, await look(web, actor, record), ", ".join(parts)


async def _versions(
    web: Web, request: Request, actor: Actor | None, model: Model, version: Version | None
) -> dict[str, Any]:
    before = rest.parse_cursor(request.query_params.get("cursor"))
    found = await web.models.versions(model, limit=VERSIONS + 1, before=before)
    more = None
    if len(found) > VERSIONS:
        last = found[VERSIONS - 1]
        more = with_query(request, cursor=rest.cursor(last.created_at, last.id))
    return {"versions": found[:VERSIONS], "more": more}


async def _readme(
    web: Web, request: Request, actor: Actor | None, model: Model, version: Version | None
) -> dict[str, Any]:
    return {"readme": await asyncio.to_thread(readme.render, model.readme) if model.readme else None}
