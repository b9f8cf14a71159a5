"""Where a project's weights are, and who one is there: at a yard by its login, anywhere else as Docker has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from modelyard.cli import client, images, pace
from modelyard.cli.pace import Pace
from modelyard.errors import ModelyardError, Unauthenticated
from modelyard.oci.client import credentials, remote, web
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.reference import Reference
from modelyard.oci.client.remote import Repository
from modelyard.weights import reference

# A yard that takes a large image writes for a while before it answers.
_PUSH_SECONDS = 120.0


def resolve(model: str | None, environ: Mapping[str, str]) -> Reference:
    """What `model` of cog.yaml means here: without a host, as for a push, the yard that one is logged in to."""
    login = client.find_login(environ)
    if login.token is None:
        return reference.resolve(model, environ)
    also = frozenset({client.REPLICATE, environ.get(images.REGISTRY_VARIABLE, "")})
    return reference.resolve(model, environ, reference.Home(host=urlsplit(login.url).netloc, also=also))


def at_yard(login: client.Login, model: str, how: Pace = pace.USUAL, again: web.Told = lambda _: None) -> Repository:
    """A model's repository at the yard that somebody is logged in to. `again` hears why an attempt failed."""
    known = Access(token=login.required_token, url=login.url)
    wanted = Reference(registry=urlsplit(login.url).netloc, repository=model)
    return _open(wanted, lambda _: known, how, _PUSH_SECONDS, again)


def elsewhere(wanted: Reference, environ: Mapping[str, str], again: web.Told = lambda _: None) -> Repository:
    """A repository of a registry that takes images. `again` hears why an attempt failed."""
    return _open(wanted, find(environ), pace.read(environ), _PUSH_SECONDS, again)


def _open(
    wanted: Reference,
    who: credentials.Find,
    how: Pace,
    seconds: float,
    again: web.Told = lambda _: None,
) -> Repository:
    return remote.open_repository(
        wanted,
        who,
        timeout_seconds=seconds,
        piece_bytes=how.piece_bytes,
        whole_bytes=how.whole_bytes,
        told=again,
    )


@contextlib.contextmanager
def opened(wanted: Reference, environ: Mapping[str, str], how: Pace = pace.USUAL) -> Iterator[Repository]:
    """The repository; where nobody named its host, what goes wrong there says which host was taken."""
    try:
        with _open(wanted, find(environ), how, web.TIMEOUT_SECONDS) as repository:
            yield repository
    except ModelyardError as error:
        if wanted.implied and wanted.registry in error.detail:
            said = _IMPLIED.format(registry=wanted.registry, repository=wanted.repository, yard=_yard(environ))
            # Who did mean Docker's still hears how to get in.
            error.hint = f"{said}; else {error.hint}" if isinstance(error, Unauthenticated) else said
        raise


_IMPLIED = (
    "`model: {repository}` names no host, and without a login to a yard that is {registry}; "
    "`yard login` first, or `model: {yard}/{repository}`, sends them to a yard"
)


def _yard(environ: Mapping[str, str]) -> str:
    return urlsplit(client.find_login(environ).url).netloc


def find(environ: Mapping[str, str]) -> credentials.Find:
    """What says who one is."""

    def yard(registry: str) -> Access | None:
        login = client.find_login(environ)
        known = login.token and urlsplit(login.url).netloc == registry
        return Access(token=login.required_token, url=login.url) if known else None

    return credentials.first_of(yard, credentials.docker(environ))
