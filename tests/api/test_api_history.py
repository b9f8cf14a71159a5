"""Predictions that exist: what a list of them is narrowed by, and how one is deleted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from server import TERMINAL, VERSIONS, Server, until


def run(http: httpx.Client, model: str, *steps: list[Any], wait: bool = True) -> dict[str, Any]:
    body = {"version": VERSIONS[model], "input": {"do": list(steps)} if steps else {}}
    made: dict[str, Any] = http.post("/v1/predictions", json=body, headers={"prefer": "wait"} if wait else {}).json()
    return made


def listed(http: httpx.Client, **query: Any) -> list[str]:
    reply = http.get("/v1/predictions", params=query)
    assert reply.status_code == 200, reply.text
    return [one["id"] for one in reply.json()["results"]]


def test_a_list_is_narrowed_by_status_model_and_version(http: httpx.Client) -> None:
    good, bad = run(http, "text"), run(http, "text", ["fail", "no"])
    tokens = run(http, "tokens", ["items", ["a"]], ["done"])
    running = run(http, "text", ["hang"], wait=False)
    until(lambda: http.get(f"/v1/predictions/{running['id']}").json()["status"] == "processing")
    after = good["created_at"]
    assert listed(http, created_after=after) == [running["id"], tokens["id"], bad["id"], good["id"]]
    assert listed(http, created_after=after, status="failed") == [bad["id"]]
    # Who has it is written down a moment after it began.
    until(lambda: listed(http, created_after=after, status="processing") == [running["id"]])
    assert listed(http, created_after=after, status=["failed", "succeeded"]) == [tokens["id"], bad["id"], good["id"]]
    assert listed(http, created_after=after, model="acme/tokens") == [tokens["id"]]
    assert listed(http, created_after=after, version=VERSIONS["tokens"]) == [tokens["id"]]
    assert listed(http, created_after=after, model="acme/tokens", status="failed") == []
    http.post(f"/v1/predictions/{running['id']}/cancel")


@pytest.mark.parametrize("model", ["acme/none", "nobody/text", "acme", "", "a/b/c", "acme/text\x00"])
def test_a_model_that_is_none_narrows_no_list(http: httpx.Client, model: str) -> None:
    reply = http.get("/v1/predictions", params={"model": model})
    assert reply.status_code == (404 if model else 200)
    assert not model or "There is no model" in reply.json()["detail"]


def test_the_next_page_keeps_the_filters(http: httpx.Client, server: Server) -> None:
    made = [run(http, "tokens", ["items", ["a"]], ["done"])["id"] for _ in range(102)]
    query = {"model": "acme/tokens", "status": "succeeded"}
    first = http.get("/v1/predictions", params=query).json()
    second = http.get(first["next"]).json()
    assert [one["id"] for one in first["results"] + second["results"]][:102] == made[::-1]
    assert "model=acme%2Ftokens&status=succeeded&cursor=" in first["next"]


def test_a_deleted_prediction_is_gone_with_its_output(http: httpx.Client, server: Server) -> None:
    made = run(http, "files", ["file", "out.txt", "hello"])
    (address,) = made["output"]
    assert httpx.get(address).text == "hello"
    assert http.delete(f"/v1/predictions/{made['id']}").status_code == 204
    assert http.get(f"/v1/predictions/{made['id']}").status_code == 404
    assert httpx.get(address).status_code == 410
    assert http.delete(f"/v1/predictions/{made['id']}").status_code == 404
    assert made["id"] not in listed(http)


def test_what_has_not_ended_is_not_deleted(http: httpx.Client) -> None:
    made = run(http, "text", ["hang"], wait=False)
    refused = http.delete(f"/v1/predictions/{made['id']}")
    assert refused.status_code == 409
    assert "only one that has ended can be deleted" in refused.json()["detail"]
    assert "cancel" in refused.json()["hint"]
    http.post(f"/v1/predictions/{made['id']}/cancel")
    until(lambda: http.get(f"/v1/predictions/{made['id']}").json()["status"] in TERMINAL)
    assert http.delete(f"/v1/predictions/{made['id']}").status_code == 204


def test_nobody_deletes_what_is_anothers(http: httpx.Client, server: Server) -> None:
    made = run(http, "text")
    with server.client(server.other_token) as other:
        assert other.delete(f"/v1/predictions/{made['id']}").status_code == 404
    assert http.get(f"/v1/predictions/{made['id']}").status_code == 200
