"""Who one is at registries: at a yard by its login, anywhere else as Docker has it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from modelyard.cli import client
from modelyard.weights import credentials
from modelyard.weights.credentials import Access


def find(environ: Mapping[str, str]) -> credentials.Find:
    """What says who one is."""

    def yard(registry: str) -> Access | None:
        login = client.find_login(environ)
        known = login.token and urlsplit(login.url).netloc == registry
        return Access(token=login.required_token, url=login.url) if known else None

    return credentials.first_of(yard, credentials.docker(environ))
