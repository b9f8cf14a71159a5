"""Who the caller is, how their browser is let in, what signs their webhooks, and what hardware there is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api.base import Deps, actor_of
from modelyard.sessions import LINK_SECONDS


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/account`."""
    account = (await actor_of(deps, request)).account
    return rest.json_response(
        {"type": account.type, "username": account.username, "name": account.name, "github_url": None}
    )


async def webhook_secret(deps: Deps, request: Request) -> Response:
    """`GET /v1/webhooks/default/secret`."""
    actor = await actor_of(deps, request)
    return rest.json_response({"key": await deps.accounts.webhook_secret(actor.account.id)})


async def hardware(deps: Deps, request: Request) -> Response:
    """`GET /v1/hardware`: a bare array."""
    await actor_of(deps, request)
    return rest.json_response([{"sku": sku, "name": name} for sku, name in deps.hardware.items()])


async def login_link(deps: Deps, request: Request) -> Response:
    """`POST /v1/login-links`: an address that signs one browser in as the caller, once."""
    actor = await actor_of(deps, request)
    link = await deps.sessions.create_link(actor.account.id)
    address = f"{deps.addresses.origin(request.scope)}/login/{link}"
    return rest.json_response({"url": address, "expires_in_seconds": LINK_SECONDS}, 201)
