"""Housekeeping over HTTP: who may ask, what may be asked, what is answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from server import Server

from modelyard import amounts
from modelyard.upkeep import Wish


def test_the_owner_is_told_what_went_and_what_stays(http: httpx.Client, server: Server) -> None:
    reply = http.post("/v1/yard/prune", json={"dry_run": True, "older_than": "12h", "unused": "5GB"})

    assert reply.status_code == 200
    assert reply.json() == {
        "dry_run": True,
        "count": 1,
        "bytes": 5,
        "totals": {"outputs": {"count": 1, "bytes": 5}},
        "items": [{"kind": "outputs", "name": "an output", "bytes": 5, "why": "it is old"}],
        "failures": [{"kind": "environments", "name": "an environment", "problem": "it is stuck"}],
    }
    asked = Wish(dry_run=True, older_than=amounts.duration("12h"), unused=amounts.size("5GB"))
    assert server.wishes[-1] == asked


def test_what_is_not_said_is_as_it_is_set(http: httpx.Client, server: Server) -> None:
    assert http.post("/v1/yard/prune", json={"older_than": None}).json()["dry_run"] is False
    assert server.wishes[-1] == Wish()


def test_nobody_else_may_ask(server: Server) -> None:
    asked = len(server.wishes)
    with server.client(server.other_token) as other:
        refused = other.post("/v1/yard/prune", json={})
    unknown = httpx.post(f"{server.url}/v1/yard/prune", json={})

    assert (refused.status_code, unknown.status_code) == (403, 401)
    assert "owner" in refused.json()["detail"]
    assert len(server.wishes) == asked


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"dry_run": "yes"}, "dry_run", "Must be a boolean, is string"),
        ({"older_than": "30"}, "older_than", "Must be a duration such as"),
        ({"older_than": 30}, "older_than", "Must be a duration such as"),
        ({"unused": "5 elephants"}, "unused", "Must be a size such as"),
        ({"dryrun": True}, "dryrun", "There is no such field; known: dry_run"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    http: httpx.Client, server: Server, body: dict[str, Any], field: str, words: str
) -> None:
    asked = len(server.wishes)
    reply = http.post("/v1/yard/prune", json=body)

    assert reply.status_code == 422
    (said,) = reply.json()["invalid_fields"]
    assert said["field"] == field
    assert words in said["description"]
    assert len(server.wishes) == asked


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    assert http.post("/v1/yard/prune", content=body).status_code == 400
