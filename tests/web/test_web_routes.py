"""Which addresses are pages, and which belong to programs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from modelyard import rest
from modelyard.overview import Overview
from modelyard.web.base import Web
from modelyard.web.gate import Gate, Hosts
from modelyard.web.routes import make_routes
from tests.api import server as servers


@pytest.fixture(scope="module")
def yard(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    folder = tmp_path_factory.mktemp("yard")
    shutil.copyfile(sqlite_template, folder / "yard.db")
    with servers.running(folder) as server:
        yield server


def get(server: servers.Server, path: str, **others: Any) -> httpx.Response:
    """What a browser of the owner gets from the pages. `others`: nouns in the place of the server's."""
    nouns = {field.name: getattr(server.deps, field.name) for field in fields(Web) if field.name != "gate"}
    web = Web(**{**nouns, **others}, gate=Gate(Hosts([], None), "yard_test"))
    pages = httpx.ASGITransport(Starlette(routes=make_routes(web), exception_handlers=rest.exception_handlers()))
    headers = {"accept": "text/html", "authorization": f"Bearer {server.token}"}

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=pages, base_url="http://localhost", headers=headers) as client:
            return await client.get(path)

    return server.call(ask())


@pytest.mark.parametrize("owner", ["v1x", "v2-team", "outputs-team", "metrics.lan"])
def test_an_owner_whose_name_begins_like_an_address_of_programs_has_pages(yard: servers.Server, owner: str) -> None:
    yard.call(yard.models.create(owner, "hello", visibility="public"))
    found = get(yard, f"/{owner}/hello")
    assert found.status_code == 200
    assert f"{owner}/hello" in found.text
    assert "text/html" in get(yard, f"/{owner}").headers["content-type"]


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/v2/x/y", "/outputs/x/y", "/healthz", "/openapi.json/x"])
def test_what_programs_ask_for_is_answered_to_programs_also_where_nothing_is(yard: servers.Server, path: str) -> None:
    found = get(yard, path)
    assert found.status_code == 404
    assert found.headers["content-type"] == "application/problem+json"


def test_the_first_page_says_what_is_wrong_with_the_yard(yard: servers.Server) -> None:
    assert 'class="note"' not in get(yard, "/").text
    full = Overview(
        yard.database, yard.folder, version="1", started_at=0, monotonic=time.monotonic, has_room=lambda: False
    )
    assert full.problems()[0] in get(yard, "/", overview=full).text
