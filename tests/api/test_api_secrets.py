"""Secrets over HTTP: those of models, and those in inputs."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from server import STRICT, VERSIONS, Server, until

from modelyard import errors
from modelyard.api.validation import Checker
from modelyard.db.base import Statement
from modelyard.models import interface

VALUE = "tok-tell-nobody"
ROW = Statement("row", "SELECT status, input, secrets, logs, error, output FROM predictions WHERE id = :id")
PATH = "/v1/models/acme/text/secrets"


def row_of(server: Server, made: dict[str, Any]) -> dict[str, Any]:
    row = server.call(server.database.one(ROW, id=made["id"]))
    assert row is not None
    return row


def create(http: httpx.Client, do: list[Any], **more: Any) -> dict[str, Any]:
    headers = more.pop("headers", {})
    values = {"key": VALUE, "do": do}
    reply = http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": values, **more}, headers=headers)
    assert reply.status_code == 201, reply.text
    assert VALUE not in reply.text
    made: dict[str, Any] = reply.json()
    return made


# Of models


def test_a_secret_is_set_listed_replaced_and_deleted_and_never_shown(server: Server, http: httpx.Client) -> None:
    assert http.get(PATH).json() == {"next": None, "previous": None, "results": []}
    first = http.put(f"{PATH}/API_KEY", json={"value": VALUE})
    assert first.status_code == 200
    assert first.json().keys() == {"name", "created_at", "updated_at"}
    again = http.put(f"{PATH}/API_KEY", json={"value": VALUE + "2"}).json()
    assert again["created_at"] == first.json()["created_at"] < again["updated_at"]
    shown = http.get(PATH)
    assert shown.json()["results"] == [again]
    assert VALUE not in first.text + shown.text
    assert http.request("DELETE", f"{PATH}/API_KEY").status_code == 204
    assert http.request("DELETE", f"{PATH}/API_KEY").status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", "/API_KEY"), ("DELETE", "/API_KEY")])
def test_only_the_owner_of_a_model_sees_that_it_has_secrets(server: Server, method: str, path: str) -> None:
    body = {"value": VALUE} if method == "PUT" else None
    with server.client(server.other_token) as other:
        assert other.request(method, PATH + path, json=body).status_code == 404
        public = other.request(method, f"/v1/models/acme/empty/secrets{path}", json=body)
        assert (public.status_code, public.headers["content-type"]) == (403, "application/problem+json")
    with httpx.Client(base_url=server.url) as nobody:
        assert nobody.request(method, PATH + path, json=body).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 422),
        (b'{"value": 5}', 422),
        (b'{"value": null}', 422),
        (b'{"value": ""}', 422),
        (b'{"value": "tok-tell-nobody", "name": "X"}', 422),
        (b'{"value": "tok-tell-nobody\\u0000"}', 422),
        (b'"tok-tell-nobody"', 400),
        (b'{"value": "tok-tell-nobody', 400),
        (b'{"value": "' + b"tok-tell-nobody" * 3000 + b'"}', 422),
        (b'{"value": "' + b"x" * 2_000_000 + b'"}', 413),
    ],
)
def test_a_body_that_holds_no_secret_is_refused_without_being_repeated(
    http: httpx.Client, body: bytes, status: int
) -> None:
    reply = http.put(f"{PATH}/API_KEY", content=body)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    assert VALUE not in reply.text
    assert http.get(PATH).json()["results"] == []


def test_a_reserved_name_is_refused_with_the_reason(http: httpx.Client) -> None:
    reply = http.put(f"{PATH}/PYTHONPATH", json={"value": VALUE})
    assert reply.status_code == 422
    assert "it changes which code a process loads" in reply.json()["detail"]


# In inputs


def test_a_secret_input_is_in_the_row_sealed_until_its_prediction_ends(server: Server, http: httpx.Client) -> None:
    made = create(http, [["hang"]])
    row = row_of(server, made)
    assert VALUE not in str(row)
    assert msgspec.json.decode(row["input"])["key"] == "[REDACTED]"
    assert row["secrets"] is not None
    until(lambda: server.script.seen.get(made["id"]))
    assert server.script.seen[made["id"]]["input"]["key"] == VALUE
    assert VALUE not in http.get("/v1/predictions").text
    http.post(f"/v1/predictions/{made['id']}/cancel")
    until(lambda: row_of(server, made)["status"] == "canceled")
    assert row_of(server, made)["secrets"] is None


@pytest.mark.parametrize(
    ("do", "status"),
    [
        ([["done", "ok"]], "succeeded"),
        ([["fail", "it broke"]], "failed"),
        ([["sleep", 0.1], ["done", "x"]], "succeeded"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"prefer": "wait"}, {"accept": "text/event-stream"}])
def test_every_end_takes_the_sealed_value_away(
    server: Server, http: httpx.Client, do: list[Any], status: str, headers: dict[str, str]
) -> None:
    body = {"version": VERSIONS["text"], "input": {"key": VALUE, "do": do}}
    reply = http.post("/v1/predictions", json=body, headers=headers)
    assert reply.status_code == 201
    assert VALUE not in reply.text
    prediction_id = reply.headers["location"].rpartition("/")[2]
    until(lambda: row_of(server, {"id": prediction_id})["status"] == status)
    row = row_of(server, {"id": prediction_id})
    assert row["secrets"] is None
    assert VALUE not in str(row)


@pytest.mark.parametrize("headers", [{}, {"cancel-after": "5s"}])
def test_one_that_never_ran_ends_without_its_value_too(
    server: Server, http: httpx.Client, headers: dict[str, str]
) -> None:
    server.script.paused = True
    try:
        made = create(http, [], headers=headers)
        assert row_of(server, made)["secrets"] is not None
        if not headers:
            http.post(f"/v1/predictions/{made['id']}/cancel")
        until(lambda: row_of(server, made)["status"] in ("canceled", "aborted"))
    finally:
        server.script.paused = False
    assert row_of(server, made)["secrets"] is None


def test_a_prediction_without_a_secret_has_none_in_its_row(server: Server, http: httpx.Client) -> None:
    for values in ({"do": [["hang"]]}, {"do": [["hang"]], "text": "x"}):
        made = http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": values}).json()
        assert row_of(server, made)["secrets"] is None
        http.post(f"/v1/predictions/{made['id']}/cancel")


def test_secrets_that_are_too_long_are_refused_with_the_inputs_name(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {"key": VALUE * 20_000}}
    reply = http.post("/v1/predictions", json=body)
    assert reply.status_code == 422
    assert reply.json()["invalid_fields"][0]["field"] == "input.key"
    assert VALUE not in reply.text


@pytest.mark.parametrize("given", [5, {"a": VALUE}, [VALUE]])
def test_a_secret_of_a_wrong_type_is_refused_without_being_repeated(http: httpx.Client, given: object) -> None:
    reply = http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": {"key": given}})
    assert reply.status_code == 422
    assert "input.key" in reply.text
    assert VALUE not in reply.text


@pytest.mark.parametrize(
    "rule",
    [
        {"properties": {"key": {"type": "string", "x-cog-secret": True, "const": "x"}}},
        {"properties": {"key": {"type": "string", "x-cog-secret": True, "not": {"type": "string"}}}},
        {"properties": {"key": {"type": "array", "x-cog-secret": True, "uniqueItems": True}}},
        {"properties": {"key": {"type": "string", "x-cog-secret": True}}, "minProperties": 9},
    ],
)
def test_the_validators_own_words_do_not_repeat_a_secret(rule: dict[str, Any]) -> None:
    document = msgspec.json.decode(msgspec.json.encode(STRICT))
    document["components"]["schemas"]["Input"] = {"type": "object", **rule}
    takes_many = rule["properties"]["key"]["type"] == "array"
    raw = msgspec.Raw(msgspec.json.encode({"key": [VALUE, VALUE] if takes_many else VALUE}))
    with pytest.raises(errors.Invalid) as caught:
        Checker().check(raw, interface.read(document))
    assert VALUE not in f"{caught.value.detail} {caught.value.extra}"
    assert "Does not fit what the version takes" in caught.value.detail


def test_a_webhook_does_not_hold_a_secret(server: Server, http: httpx.Client) -> None:
    made = create(http, [["hang"]])
    until(lambda: server.script.seen.get(made["id"]))
    record = server.predictions.lives[made["id"]].record
    rendered = server.deps.renderer.render(record, "http://yard.test", interface.read(STRICT))
    assert VALUE.encode() not in rendered
    assert b"[REDACTED]" in rendered
    http.post(f"/v1/predictions/{made['id']}/cancel")
