"""What every room of the API is given, and the few things that all of them do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from starlette.requests import Request

from modelyard import errors, rest
from modelyard.accounts import Accounts, Actor
from modelyard.auth import Authenticator
from modelyard.blobs.base import Blobs
from modelyard.files import Files
from modelyard.machine import Machine
from modelyard.models.record import Model, is_name
from modelyard.models.service import Models
from modelyard.models.targets import RunCounter, Targets
from modelyard.overview import Overview
from modelyard.predictions.document import Renderer
from modelyard.predictions.inputs import Inputs
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.removal import Removal
from modelyard.predictions.service import Predictions
from modelyard.secrets import ModelSecrets
from modelyard.sessions import Sessions
from modelyard.upkeep import CheckStore, ListHoldings, Prune, nobody_checks, nobody_holds, nobody_prunes

PAGE = 100
MODELS_PAGE = 25
# Longest JSON body of a request that is not a prediction.
SMALL_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """The nouns behind the doors. `hardware`: the names of the skus on offer, in order; `clock`: microseconds."""

    accounts: Accounts
    auth: Authenticator
    models: Models
    model_secrets: ModelSecrets
    targets: Targets
    runs: RunCounter
    files: Files
    blobs: Blobs
    predictions: Predictions
    outputs: Outputs
    inputs: Inputs
    renderer: Renderer
    removal: Removal
    machine: Machine
    sessions: Sessions
    overview: Overview
    addresses: rest.Addresses
    clock: Callable[[], int]
    hardware: Mapping[str, str] = field(default_factory=lambda: {"cpu": "CPU"})
    # Told the address that a prediction with a webhook was made through, so that its webhooks name the same one.
    remember_origin: Callable[[str, str], None] = lambda prediction_id, origin: None
    prune: Prune = nobody_prunes
    check_store: CheckStore = nobody_checks
    holdings: ListHoldings = nobody_holds
    # The bytes of a backup of this yard; whoever does not want all of them closes it.
    backup: Callable[[], AsyncIterator[bytes]] | None = None
    # What pushes put a version on that name no base themselves.
    base_image: str | None = None
    # What instances are: `process`, or `docker` for containers.
    engine: str = "process"


async def actor_of(deps: Deps, request: Request) -> Actor:
    """Who asks. Raises Unauthenticated."""
    return await deps.auth.actor(rest.header(request.scope, b"authorization"))


async def operator_of(deps: Deps, request: Request) -> Actor:
    """Who asks, where that must be the yard's owner. Raises Unauthenticated, Forbidden."""
    actor = await actor_of(deps, request)
    if not await deps.accounts.operates(actor.account):
        raise errors.Forbidden("Only the owner of this yard may do that.")
    return actor


async def model_of(deps: Deps, request: Request, actor: Actor) -> Model:
    """The model that the path names. Raises NotFound where it is missing or private to others."""
    return await named_model(deps, f"{request.path_params['owner']}/{request.path_params['name']}", actor)


async def named_model(deps: Deps, full_name: str, actor: Actor) -> Model:
    """The model `owner/name`. Raises NotFound where it is missing or private to others."""
    owner, _, name = full_name.partition("/")
    model = await deps.models.get(owner, name) if is_name(owner) and is_name(name) else None
    if model is None or not model.visible_to(actor.account):
        raise errors.NotFound(f"There is no model {full_name[:300]}, or you may not see it.")
    return model


def own(model: Model, actor: Actor) -> None:
    """Raises Forbidden unless the caller owns the model."""
    if model.owner != actor.account.username:
        raise errors.Forbidden(f"{model.full_name} belongs to somebody else.")


async def json_object(request: Request) -> dict[str, object]:
    """The body as a JSON object. Raises BadRequest, TooLarge."""
    body = await rest.read_body(request.receive, SMALL_BODY_BYTES)
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise errors.BadRequest(f"The request's body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise errors.BadRequest(f"The request's body is {json_type(value)}; a JSON object is wanted.")
    return value


def json_type(value: object) -> str:
    """What JSON calls the type of a decoded value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "value")


def invalid(failures: list[tuple[str, str, str]]) -> errors.Invalid:
    """One error of many failures, each (kind, field, description); the field is empty for the body itself."""
    lines = [f"- {field}: {said}\n" if field else f"- {said}\n" for _, field, said in failures]
    fields = [{"type": kind, "field": field, "description": said} for kind, field, said in failures]
    return errors.Invalid("".join(lines), fields)
