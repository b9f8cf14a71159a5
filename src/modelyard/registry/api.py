"""The registry's routes below `/v2/`: the OCI distribution specification 1.1, which docker and other tools speak.

A repository is a path of names, so routes are told apart by a pattern over the whole path rather than by a router.
Addresses in replies begin with the yard's public address where it has one; else they are relative, and hold behind any
proxy.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from modelyard import errors
from modelyard.accounts import Actor
from modelyard.blobs.base import Blobs
from modelyard.db.base import Database
from modelyard.oci.names import PART
from modelyard.registry import problems
from modelyard.registry.contents import Contents
from modelyard.registry.fetches import Fetches
from modelyard.registry.images import Images, OnDelete, OnManifest, OnPull
from modelyard.registry.origins import Origins
from modelyard.registry.repositories import Repositories
from modelyard.registry.requests import bearer
from modelyard.registry.transfer import May, Transfer
from modelyard.registry.uploads import Uploads
from modelyard.registry.upstreams import Upstreams
from modelyard.uses import Uses

log = logging.getLogger(__name__)

# How long a push may rely on a blob that it was told is here, before its manifest says what it is for.
PUSH_SECONDS = 24 * 3600.0
# The specification's own limit for what comes after the host.
MAX_NAME = 255

_NAME = rf"(?P<name>{PART}(?:/{PART})*)"

Authenticate = Callable[[bytes], Awaitable[Actor]]
Handler = Callable[[Request, Actor, dict[str, str]], Awaitable[Response]]
Table = list[tuple[re.Pattern[str], dict[str, Handler]]]


async def all_may_go(repository: str, digest: str) -> None:
    """What a registry without models around it says to a deletion."""


def all_may_come(config: bytes) -> None:
    """What it says to a pull."""


def make_routes(
    *,
    blobs: Blobs,
    db: Database,
    uploads: Uploads,
    authenticate: Authenticate,
    may_read: May,
    may_write: May,
    on_manifest: OnManifest,
    clock: Callable[[], int],
    on_delete: OnDelete = all_may_go,
    on_pull: OnPull = all_may_come,
    uses: Uses | None = None,
    public_url: str | None = None,
    upstreams: Upstreams | None = None,
) -> list[BaseRoute]:
    """The registry as routes for an application.

    `authenticate` turns an `Authorization` header into an actor and raises Unauthenticated. `on_manifest` is called
    when an image came under a tag, and all that it names is here, before the repository has it; it refuses by raising a
    ModelyardError. So do `on_delete` before a manifest goes, and `on_pull` before an image is given. `uploads`: what is
    on its way; `clock`: microseconds since 1970; `uses` is told of the blobs that somebody who pushes asks for or
    names. `upstreams`: other registries, where layers may stay until somebody wants them; None: all is sent here.
    """
    uses = uses or Uses(PUSH_SECONDS)
    repositories = Repositories(db, clock)
    contents = Contents(repositories, blobs)
    origins = Origins(db, clock, upstreams)
    fetches = None
    if upstreams is not None:
        fetches = Fetches(
            upstreams=upstreams,
            origins=origins,
            blobs=blobs,
            uses=uses,
            folder=uploads.folder,
        )
    table = _table(
        Transfer(
            repositories=repositories,
            blobs=blobs,
            uploads=uploads,
            contents=contents,
            uses=uses,
            may_read=may_read,
            origins=origins,
            fetches=fetches,
        ),
        Images(
            repositories=repositories,
            blobs=blobs,
            contents=contents,
            uses=uses,
            on_manifest=on_manifest,
            on_delete=on_delete,
            on_pull=on_pull,
            origins=origins,
        ),
    )
    registry = Registry(table, authenticate, may_read, may_write, (public_url or "").rstrip("/"))
    return [Route("/v2", registry), Route("/v2/{rest:path}", registry)]


def _table(transfer: Transfer, images: Images) -> Table:
    upload = {
        "GET": transfer.progress,
        "HEAD": transfer.progress,
        "PATCH": transfer.append,
        "PUT": transfer.finish,
        "DELETE": transfer.cancel,
    }
    return [
        (re.compile("/v2/?"), {"GET": _root, "HEAD": _root}),
        (re.compile(rf"/v2/{_NAME}/blobs/uploads/?"), {"POST": transfer.begin}),
        (re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[^/]+)"), dict(upload)),
        (
            re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>[^/]+)"),
            {"GET": transfer.get, "HEAD": transfer.get, "DELETE": transfer.delete},
        ),
        (
            re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)"),
            {"GET": images.get, "HEAD": images.get, "PUT": images.put, "DELETE": images.delete},
        ),
        (re.compile(rf"/v2/{_NAME}/referrers/(?P<digest>[^/]+)"), {"GET": images.referrers, "HEAD": images.referrers}),
        (re.compile(rf"/v2/{_NAME}/tags/list"), {"GET": images.tags, "HEAD": images.tags}),
    ]


async def _root(request: Request, actor: Actor, names: dict[str, str]) -> Response:
    """Says that this is a registry and that the caller may use it."""
    return Response("{}", media_type="application/json")


class Registry:
    """One ASGI application for everything below `/v2/`."""

    def __init__(
        self, table: Table, authenticate: Authenticate, may_read: May, may_write: May, public_url: str
    ) -> None:
        self._table = table
        self._authenticate = authenticate
        self._may_read = may_read
        self._may_write = may_write
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except errors.ModelyardError as error:
            response = problems.render(error)
        except ClientDisconnect:
            return
        except Exception:  # the door: what went wrong inside is ours to know and nobody's to read
            log.exception("the registry failed at %s %s", request.method, request.url.path)
            response = problems.render(errors.ModelyardError())
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        if self._public_url:
            for name, before in (("Location", ""), ("Link", "<")):
                if response.headers.get(name, "").startswith(f"{before}/v2/"):
                    response.headers[name] = before + self._public_url + response.headers[name].removeprefix(before)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        actor = await self._authenticate(bearer(request.headers.get("authorization", "")))
        path = request.url.path
        for pattern, handlers in self._table:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = handlers.get(request.method)
            if handler is None:
                raise problems.NotSupportedError(
                    f"{request.method} is not possible here", {"Allow": ", ".join(handlers)}
                )
            names = match.groupdict()
            if "name" in names:
                await self._check(actor, names["name"], request.method)
            return await handler(request, actor, names)
        raise problems.NameInvalidError(f"{path[:300]!r} names nothing of a registry")

    async def _check(self, actor: Actor, repository: str, method: str) -> None:
        if len(repository) > MAX_NAME:
            raise problems.NameInvalidError(f"a repository's name may have {MAX_NAME} characters")
        if not await self._may_read(actor, repository) and not await self._may_write(actor, repository):
            hint = _whose(actor, repository)
            # docker shows the message alone, and asks here with a POST when it pushes.
            told = "" if method in ("GET", "HEAD") else f" {hint}"
            raise errors.NotFound(f"There is no repository {repository} that this token may see.{told}", hint=hint)
        if method not in ("GET", "HEAD") and not await self._may_write(actor, repository):
            raise errors.Forbidden(f"This token may not push to {repository}. {_whose(actor, repository)}")


def _whose(actor: Actor, repository: str) -> str:
    """Who may push where, as far as it is about who asks."""
    who = actor.account.username
    return f"This token is {who}'s, who pushes to names such as {who}/{repository.rpartition('/')[2]}."
