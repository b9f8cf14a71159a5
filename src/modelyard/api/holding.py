"""What the registry keeps, and whether it is whole, for whoever runs the yard."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api.base import Deps, invalid, json_object, json_type, operator_of
from modelyard.upkeep import Check, Holding, InEngine

_KNOWN = ("deep", "fix")


async def check(deps: Deps, request: Request) -> Response:
    """`POST /v1/yard/check`: look whether the store is whole; with `fix`, mend it."""
    await operator_of(deps, request)
    checked = await deps.check_store(_wish(await json_object(request)))
    return rest.json_response(
        {
            "deep": checked.deep,
            "counts": checked.counts,
            "findings": [dataclasses.asdict(finding) for finding in checked.findings],
        }
    )


async def images(deps: Deps, request: Request) -> Response:
    """`GET /v1/yard/images`: every version and weight in the registry with its size, and what of it is its own."""
    await operator_of(deps, request)
    found = await deps.holdings()
    return rest.json_response(
        {
            "bytes": found.bytes,
            "unneeded_bytes": found.unneeded,
            "images": [_document(each) for each in found.held],
            "engine_images": [_in_engine(each) for each in found.in_engine],
        }
    )


def _document(held: Holding) -> dict[str, Any]:
    return {
        "name": held.name,
        "id": held.id,
        "kind": "version" if held.is_version else "artifact",
        "tags": list(held.tags),
        "created_at": rest.time_text(held.created_at),
        "bytes": held.bytes,
        "unique_bytes": held.unique,
        "shared_bytes": held.bytes - held.unique,
    }


def _in_engine(image: InEngine) -> dict[str, Any]:
    return {
        "name": image.name,
        "id": image.id,
        "bytes": image.bytes,
        "unique_bytes": image.unique,
        "shared_bytes": image.bytes - image.unique,
        "needed": image.needed,
    }


def _wish(body: dict[str, object]) -> Check:
    said = f"There is no such field; known: {', '.join(_KNOWN)}"
    failures = [("unknown", name, said) for name in body.keys() - set(_KNOWN)]
    for name in _KNOWN:
        value = body.get(name, False)
        if not isinstance(value, bool):
            failures.append(("type", name, f"Must be a boolean, is {json_type(value)}"))
    if failures:
        raise invalid(sorted(failures))
    return Check(**{name: bool(body.get(name, False)) for name in _KNOWN})
