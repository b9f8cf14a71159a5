"""What every page is given, and the few things that all of them do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Account, Accounts, Actor
from modelyard.auth import Authenticator
from modelyard.blobs.base import Blobs
from modelyard.files import Files
from modelyard.machine import Machine, Seen
from modelyard.models.record import Model
from modelyard.models.service import Models
from modelyard.overview import Overview
from modelyard.predictions.document import Renderer
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction
from modelyard.predictions.service import Predictions
from modelyard.sessions import Sessions
from modelyard.web.gate import Gate

# Who looks without having signed in, where a list asks for somebody: an account that owns nothing.
NOBODY = Account(id="", username="", name="")
SIGN_IN = "Sign in with the link that `yard open` prints on the machine of the yard, or where you are logged in to it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The nouns behind the pages. `clock`: microseconds."""

    accounts: Accounts
    auth: Authenticator
    sessions: Sessions
    models: Models
    predictions: Predictions
    outputs: Outputs
    renderer: Renderer
    addresses: rest.Addresses
    machine: Machine
    overview: Overview
    hardware: Mapping[str, str]
    clock: Callable[[], int]
    blobs: Blobs
    files: Files
    gate: Gate


View = Callable[[Web, Request], Awaitable[Response]]


async def visitor(web: Web, request: Request) -> Actor | None:
    """Who looks, or None for somebody who has not signed in."""
    authorization = rest.header(request.scope, b"authorization")
    if not authorization:
        return None
    try:
        return await web.auth.actor(authorization)
    except errors.Unauthenticated:
        # A session that ended: the page shows what anybody may see, and how to sign in.
        return None


async def member(web: Web, request: Request) -> Actor:
    """Who looks, where that must be somebody. Raises Unauthenticated."""
    found = await visitor(web, request)
    if found is None:
        raise errors.Unauthenticated("This page is for people who have signed in.", hint=SIGN_IN)
    return found


async def model_of(web: Web, request: Request, actor: Actor | None) -> Model:
    """The model that the path names, with its counts. Raises NotFound where it is missing or private to others."""
    owner, name = request.path_params["owner"], request.path_params["name"]
    model = await web.models.fresh(owner, name)
    if model is None or not model.visible_to(None if actor is None else actor.account):
        hint = SIGN_IN if actor is None else "`yard models` lists those that you may see."
        raise errors.NotFound(f"There is no model {owner}/{name}, or you may not see it.", hint=hint)
    return model


async def prediction_of(web: Web, prediction_id: str, actor: Actor) -> Prediction:
    """A prediction of the caller's account as it is now. Raises NotFound."""
    record = await web.predictions.get(prediction_id)
    if record is None or record.account_id != actor.account.id:
        raise errors.NotFound("There is no such prediction, or it belongs to somebody else.")
    return record


async def seen_by(web: Web, actor: Actor | None) -> tuple[Seen, Mapping[str, Model]]:
    """What runs, of the models that this visitor may see, and those models by id."""
    seen = web.machine.observe()
    ids = {each.model_id for each in seen.instances} | {pool.model_id for pool in seen.pools}
    found = [await web.models.get_by_id(model_id) for model_id in ids]
    account = None if actor is None else actor.account
    known = {model.id: model for model in found if model is not None and model.visible_to(account)}
    shown = Seen(
        instances=tuple(each for each in seen.instances if each.model_id in known),
        pools=tuple(each for each in seen.pools if each.model_id in known),
        cores=seen.cores,
        memory_bytes=seen.memory_bytes,
        gpus=seen.gpus,
    )
    return shown, known


def with_query(request: Request, **changed: str | None) -> str:
    """This page's address with other filters; None takes one away."""
    kept = {name: value for name, value in request.query_params.items() if name not in changed}
    query = urlencode({**kept, **{name: value for name, value in changed.items() if value}})
    return f"{request.scope['path']}?{query}" if query else str(request.scope["path"])
