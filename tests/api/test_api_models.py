from __future__ import annotations

from typing import Any

import httpx
import pytest
from server import STRICT, TEXT, VERSIONS, Server


def create(http: httpx.Client, name: str, **more: Any) -> httpx.Response:
    return http.post("/v1/models", json={"owner": "acme", "name": name, "visibility": "private", **more})


def test_a_model_is_made_changed_and_deleted(http: httpx.Client, server: Server) -> None:
    answer = create(http, "new-model", hardware="cpu", description="What it does")
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{server.url}/v1/models/acme/new-model"
    assert made["url"] == f"{server.url}/acme/new-model"
    assert (made["owner"], made["name"], made["visibility"]) == ("acme", "new-model", "private")
    assert (made["run_count"], made["latest_version"], made["default_example"]) == (0, None, None)
    assert made["cover_image_url"] is None
    assert http.get("/v1/models/acme/new-model").json() == made
    texts = {"readme": "# Hello", "github_url": "https://example.org/x", "description": None}
    changed = http.patch("/v1/models/acme/new-model", json=texts).json()
    assert (changed["github_url"], changed["description"]) == ("https://example.org/x", None)
    readme = http.get("/v1/models/acme/new-model/readme")
    assert (readme.text, readme.headers["content-type"]) == ("# Hello", "text/plain; charset=utf-8")
    assert http.delete("/v1/models/acme/new-model").status_code == 204
    assert http.get("/v1/models/acme/new-model").status_code == 404


WRONG = [
    ({"owner": "other"}, "/owner"),
    ({"name": "Upper"}, "/name"),
    ({"name": "../x"}, "/name"),
    ({"name": "a" * 129}, "/name"),
    ({"name": 5}, "/name"),
    ({"name": None}, "/name"),
    ({"visibility": "secret"}, "/visibility"),
    ({"hardware": "gpu-t4"}, "/hardware"),
    ({"github_url": "not a url"}, "/github_url"),
    ({"description": 5}, "/description"),
    ({"description": "a\x00b"}, "/description"),
    ({"description": "a" * 20_000}, "/description"),
    ({"colour": "red"}, "/colour"),
    ({"name": "text"}, "/name"),
]


@pytest.mark.parametrize(("fields", "pointer"), WRONG)
def test_a_wrong_field_of_a_model_is_named(http: httpx.Client, fields: dict[str, Any], pointer: str) -> None:
    answer = create(http, "fine", **fields) if "name" not in fields else create(http, **{"name": "", **fields})
    shown = answer.json()
    assert answer.status_code == 400
    assert shown["title"] == "Validation failed"
    assert [error["pointer"] for error in shown["errors"]] == [pointer]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"'])
def test_a_model_is_made_of_an_object(http: httpx.Client, body: bytes) -> None:
    assert http.post("/v1/models", content=body).status_code == 400


def test_a_model_shows_its_latest_version_whole(http: httpx.Client) -> None:
    latest = http.get("/v1/models/acme/text").json()["latest_version"]
    assert latest["id"] == VERSIONS["text"]
    assert latest["cog_version"] == "0.16.0"
    assert latest["openapi_schema"] == TEXT


def test_versions_come_newest_first_and_go(http: httpx.Client, server: Server) -> None:
    create(http, "many")

    async def add(number: int) -> None:
        model = await server.models.get("acme", "many")
        assert model is not None
        await server.models.add_version(model.id, f"{number:064x}", STRICT, {}, "0.16.0")

    for number in range(102):
        server.call(add(number))
    first = http.get("/v1/models/acme/many/versions").json()
    assert [int(version["id"], 16) for version in first["results"]] == list(range(101, 1, -1))
    second = http.get(first["next"]).json()
    assert [int(version["id"], 16) for version in second["results"]] == [1, 0]
    assert second["next"] is None
    path = f"/v1/models/acme/many/versions/{101:064x}"
    assert http.get(path).json()["id"] == f"{101:064x}"
    assert http.post("/v1/models/acme/many/predictions", json={"input": {"text": "x"}}).status_code == 201
    assert http.delete(path).status_code == 202
    assert http.get(path).status_code == 404
    assert http.get("/v1/models/acme/many").json()["latest_version"]["id"] == f"{100:064x}"
    made = http.post("/v1/models/acme/many/predictions", json={"input": {"text": "x"}}).json()
    assert made["version"] == f"{100:064x}"
    assert http.delete("/v1/models/acme/many").status_code == 403


def test_a_version_that_is_running_is_not_deleted(http: httpx.Client) -> None:
    body = {"version": VERSIONS["tokens"], "input": {"do": [["hang"]]}}
    made = http.post("/v1/predictions", json=body).json()
    path = f"/v1/models/acme/tokens/versions/{VERSIONS['tokens']}"
    assert http.delete(path).status_code == 409
    http.post(made["urls"]["cancel"])


@pytest.mark.parametrize("version", ["x", "f" * 64, "F" * 64, "%00"])
def test_a_version_that_is_none_is_not_found(http: httpx.Client, version: str) -> None:
    assert http.get(f"/v1/models/acme/text/versions/{version}").status_code == 404
    assert http.delete(f"/v1/models/acme/text/versions/{version}").status_code == 404


def test_others_see_public_models_only_and_change_none(server: Server) -> None:
    with server.client(server.other_token) as other:
        names = [model["name"] for model in other.get("/v1/models").json()["results"]]
        assert names == ["empty"]
        assert other.get("/v1/models/acme/text").status_code == 404
        assert other.get("/v1/models/acme/text/versions").status_code == 404
        assert other.patch("/v1/models/acme/empty", json={"readme": "mine"}).status_code == 403
        assert other.delete("/v1/models/acme/empty").status_code == 403


def test_models_are_listed_in_pages_and_both_ways(http: httpx.Client) -> None:
    for number in range(30):
        create(http, f"page-{number:02}")
    names: list[str] = []
    following = "/v1/models?sort_by=model_created_at&sort_direction=asc"
    while following:
        page = http.get(following).json()
        assert len(page["results"]) <= 25
        names += [model["name"] for model in page["results"]]
        following = page["next"]
    assert names[:3] == ["text", "tokens", "files"]
    assert names[-30:] == [f"page-{number:02}" for number in range(30)]
    newest = http.get("/v1/models?sort_by=model_created_at").json()["results"]
    assert [model["name"] for model in newest[:2]] == ["page-29", "page-28"]
    assert http.get("/v1/models?sort_by=size").status_code == 400


@pytest.mark.parametrize(
    ("kind", "body"), [("text/plain", "STRI"), ("text/plain", '"stri"'), ("application/json", '"stri"')]
)
def test_a_search_comes_in_the_forms_of_all_clients(http: httpx.Client, kind: str, body: str) -> None:
    answer = http.request("QUERY", "/v1/models", content=body, headers={"content-type": kind})
    assert [model["name"] for model in answer.json()["results"]] == ["strict"]


@pytest.mark.parametrize("body", ["%", "_", "!", "\x00", "{", "'"])
def test_a_search_means_what_it_says(http: httpx.Client, body: str) -> None:
    answer = http.request("QUERY", "/v1/models", content=body)
    assert answer.status_code == 200
    assert body == "\x00" or answer.json()["results"] == []


def test_account_hardware_and_the_document(http: httpx.Client, server: Server) -> None:
    assert http.get("/v1/account").json() == {
        "type": "user",
        "username": "acme",
        "name": "Acme",
        "github_url": None,
    }
    assert http.get("/v1/hardware").json() == [{"sku": "cpu", "name": "CPU"}]
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document["servers"] == [{"url": f"{server.url}/v1"}]
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert {"predictions.create", "predictions.get", "models.versions.list", "files.create"} <= operations
