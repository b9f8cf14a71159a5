"""The registry's store over HTTP: is it whole, what does it keep, who may ask."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from server import Server


@pytest.mark.parametrize("fix", [False, True])
def test_the_owner_is_told_what_is_wrong_and_what_was_mended(http: httpx.Client, fix: bool) -> None:
    reply = http.post("/v1/yard/check", json={"deep": True, "fix": fix})

    assert reply.status_code == 200
    assert reply.json() == {
        "deep": True,
        "counts": {"tags": 1},
        "findings": [
            {
                "kind": "tag",
                "name": "ada/hello:x",
                "problem": "it points nowhere",
                "remedy": "forget it",
                "fixable": True,
                "fixed": fix,
                "bytes": 0,
            }
        ],
    }


def test_the_owner_is_told_what_is_kept_and_what_of_it_is_shared(http: httpx.Client) -> None:
    assert http.get("/v1/yard/images").json() == {
        "bytes": 12,
        "unneeded_bytes": 3,
        "images": [
            {
                "name": "ada/hello",
                "id": "1" * 64,
                "kind": "version",
                "tags": ["latest"],
                "created_at": "2023-11-14T22:13:20.000000Z",
                "bytes": 9,
                "unique_bytes": 4,
                "shared_bytes": 5,
            }
        ],
        "engine_images": [
            {
                "name": "ada/gone",
                "id": "2" * 64,
                "bytes": 7,
                "unique_bytes": 3,
                "shared_bytes": 4,
                "needed": False,
            }
        ],
    }


def test_nobody_else_may_ask_about_the_store(server: Server) -> None:
    with server.client(server.other_token) as other:
        assert other.post("/v1/yard/check", json={}).status_code == 403
        assert other.get("/v1/yard/images").status_code == 403
    assert httpx.post(f"{server.url}/v1/yard/check", json={}).status_code == 401
    assert httpx.get(f"{server.url}/v1/yard/images").status_code == 401


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"deep": 1}, "deep", "Must be a boolean"),
        ({"fix": "yes"}, "fix", "Must be a boolean, is string"),
        ({"repair": True}, "repair", "There is no such field; known: deep, fix"),
    ],
)
def test_what_is_no_check_is_refused_by_name(http: httpx.Client, body: dict[str, Any], field: str, words: str) -> None:
    reply = http.post("/v1/yard/check", json=body)
    assert reply.status_code == 422
    (said,) = reply.json()["invalid_fields"]
    assert said["field"] == field
    assert words in said["description"]
