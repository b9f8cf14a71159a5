from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
import pytest
from server import VERSIONS, Server

from modelyard import files as nouns

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 10


def upload(http: httpx.Client, content: Any = PNG, **parts: Any) -> httpx.Response:
    given = {"content": ("photo.png", content, "image/png"), **parts}
    return http.post("/v1/files", files=given)


def test_a_file_is_uploaded_and_described(http: httpx.Client, server: Server) -> None:
    answer = upload(http)
    made = answer.json()
    assert answer.status_code == 201
    assert (made["name"], made["content_type"], made["size"]) == ("photo.png", "image/png", len(PNG))
    assert made["etag"] == made["checksums"]["md5"]
    assert len(made["checksums"]["sha256"]) == 64
    assert made["urls"]["get"] == f"{server.url}/v1/files/{made['id']}" == answer.headers["location"]
    assert http.get(made["urls"]["get"]).json() == made
    assert http.get("/v1/files").json()["results"][0] == made
    assert http.delete(made["urls"]["get"]).status_code == 204
    assert http.get(made["urls"]["get"]).status_code == 404
    assert http.delete(made["urls"]["get"]).status_code == 404


METADATA = [
    ({"metadata": (None, '{"a": {"b": 2}}')}, {"a": {"b": 2}}),
    ({"metadata": ("blob", b'{"a": 1}', "application/json")}, {"a": 1}),
    ({"metadata[a]": (None, "1"), "metadata[b][c]": (None, "2")}, {"a": "1", "b": {"c": "2"}}),
    ({}, {}),
]


@pytest.mark.parametrize(("parts", "expected"), METADATA)
def test_metadata_comes_in_the_forms_of_all_clients(http: httpx.Client, parts: Any, expected: Any) -> None:
    assert upload(http, **parts).json()["metadata"] == expected


def test_name_and_type_may_be_said_beside_the_content(http: httpx.Client) -> None:
    made = upload(http, filename=(None, "other.jpg"), type=(None, "image/jpeg")).json()
    assert (made["name"], made["content_type"]) == ("other.jpg", "image/jpeg")


def test_a_type_that_was_lost_is_seen_from_the_bytes(http: httpx.Client) -> None:
    part = ("upload", PNG, "application/octet-stream")
    assert http.post("/v1/files", files={"content": part}).json()["content_type"] == "image/png"


@pytest.mark.parametrize(("given", "kept"), [("../../etc/passwd", "passwd"), ("a\\b.txt", "b.txt"), ("..", "file")])
def test_a_name_is_never_a_path(http: httpx.Client, given: str, kept: str) -> None:
    assert http.post("/v1/files", files={"content": (given, b"x")}).json()["name"] == kept


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"other": ("x", b"x")}, "content"),
        ({"content": ("x", b"x"), "metadata": (None, "[1]")}, "metadata"),
        ({"content": ("x", b"x"), "metadata": (None, "{")}, "metadata"),
        ({"content": ("x", b"x"), "filename": (None, "é" * 200)}, "filename"),
    ],
)
def test_a_wrong_form_is_named(http: httpx.Client, parts: Any, said: str) -> None:
    answer = http.post("/v1/files", files=parts)
    assert answer.status_code == 400
    assert f"'{said}'" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_what_is_no_form_is_refused(http: httpx.Client, kind: str) -> None:
    answer = http.post("/v1/files", content=b"nonsense", headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_file_that_is_too_large_is_refused(http: httpx.Client) -> None:
    answer = upload(http, b"x" * (nouns.MAX_FILE_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["detail"] == "Files must be less than 100MB in size"


def test_files_of_others_are_not_there(http: httpx.Client, server: Server) -> None:
    made = upload(http).json()
    with server.client(server.other_token) as other:
        assert other.get(made["urls"]["get"]).status_code == 404
        assert other.delete(made["urls"]["get"]).status_code == 404
        assert other.get("/v1/files").json()["results"] == []


def signed(server: Server, file_id: str, expiry: int, owner: str = "acme") -> str:
    secret = server.call(server.accounts.files_secret(server.owner.id))
    query = {"owner": owner, "expiry": expiry, "signature": nouns.signature(secret, owner, file_id, expiry)}
    return str(httpx.URL(f"{server.url}/v1/files/{file_id}/download", params=query))


def test_a_download_needs_a_signature_and_no_token(http: httpx.Client, server: Server) -> None:
    made = upload(http).json()
    later = int(time.time()) + 60
    answer = httpx.get(signed(server, made["id"], later))
    assert answer.status_code == 200
    assert answer.content == PNG
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'filename="photo.png"' in answer.headers["content-disposition"]
    wrong = [
        signed(server, made["id"], later).replace("signature=", "signature=A"),
        signed(server, made["id"], later).replace(f"expiry={later}", f"expiry={later + 1}"),
        signed(server, made["id"], int(time.time()) - 10),
        signed(server, made["id"], later, owner="other"),
        f"{server.url}/v1/files/{made['id']}/download",
        f"{server.url}/v1/files/{made['id']}/download?owner=acme&expiry=%00&signature=%ff",
    ]
    assert [httpx.get(url).status_code for url in wrong] == [404] * len(wrong)


def predict(http: httpx.Client, values: dict[str, Any]) -> httpx.Response:
    body = {"version": VERSIONS["text"], "input": values}
    return http.post("/v1/predictions", json=body, headers={"prefer": "wait"})


def test_an_uploaded_file_reaches_the_model_as_bytes(http: httpx.Client, server: Server) -> None:
    url = upload(http).json()["urls"]["get"]
    made = predict(http, {"image": url, "images": [url, "https://example.org/x.png"]}).json()
    assert made["input"]["image"] == url
    files = server.script.seen[made["id"]]["files"]
    assert files.keys() == {url}
    assert files[url].endswith(".png")
    with open(files[url], "rb") as file:  # noqa: PTH123
        assert file.read() == PNG


def test_an_address_of_this_yard_that_leads_nowhere_is_refused_and_never_fetched(
    http: httpx.Client, server: Server
) -> None:
    with server.client(server.other_token) as other:
        of_another = upload(other).json()["urls"]["get"]
    gone = upload(http).json()
    http.delete(f"/v1/files/{gone['id']}")
    forged = f"{server.url}/outputs/{'0' * 26}/0/{'0' * 40}/x.png"
    for url in (of_another, gone["urls"]["get"], forged):
        answer = predict(http, {"images": ["https://example.org/x.png", url]})
        assert answer.status_code == 422
        assert [field["field"] for field in answer.json()["invalid_fields"]] == ["input.images"]


def test_a_file_is_found_again_when_only_the_row_is_left(http: httpx.Client, server: Server) -> None:
    url = upload(http).json()["urls"]["get"]
    made = predict(http, {"image": url}).json()

    async def again() -> dict[str, str]:
        record = await server.predictions.get(made["id"])
        assert record is not None
        return await server.deps.inputs.of_record(record)

    assert server.call(again()) == server.script.seen[made["id"]]["files"]


def test_a_long_data_uri_becomes_a_file_before_the_row_is_written(http: httpx.Client, server: Server) -> None:
    content = PNG + bytes(20_000)
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    made = predict(http, {"image": uri, "images": [uri, "data:text/plain,short"], "text": uri}).json()
    shown = made["input"]
    assert shown["image"].startswith(f"{server.url}/v1/files/")
    assert shown["images"][1] == "data:text/plain,short"
    assert shown["text"] == uri
    path = server.script.seen[made["id"]]["files"][shown["image"]]
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == content
    described = http.get(shown["image"]).json()
    assert (described["content_type"], described["size"]) == ("image/png", len(content))
    assert shown["image"] not in json.dumps(http.get("/v1/files").json())


@pytest.mark.parametrize("uri", ["data:image/png;base64,@" + "A" * 9000, "data:image/png" + "A" * 9000])
def test_a_data_uri_that_is_none_is_named(http: httpx.Client, uri: str) -> None:
    answer = predict(http, {"images": ["data:,x", uri]})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "input.images.1"


# What models make


def output(http: httpx.Client, name: str, content: str) -> str:
    body = {"version": VERSIONS["files"], "input": {"do": [["file", name, content]]}}
    made = http.post("/v1/predictions", json=body, headers={"prefer": "wait"}).json()
    assert made["status"] == "succeeded", made
    link: str = made["output"][0]
    return link


def test_an_output_is_a_link_that_needs_no_token(http: httpx.Client, server: Server) -> None:
    link = output(http, "result.json", '{"a": 1}')
    assert link.startswith(f"{server.url}/outputs/")
    answer = httpx.get(link)
    assert (answer.status_code, answer.text) == (200, '{"a": 1}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'inline; filename="result.json"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert httpx.head(link).headers["content-length"] == "8"
    again = httpx.get(link, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "script.js", "unknown.xyz"])
def test_what_a_browser_might_execute_is_downloaded(http: httpx.Client, name: str) -> None:
    answer = httpx.get(output(http, name, "<script>alert(1)</script>"))
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_a_link_of_an_output_cannot_be_guessed(http: httpx.Client) -> None:
    link = output(http, "a.txt", "x")
    head, number, signature, name = link.rsplit("/", 3)
    wrong = [
        f"{head}/{number}/{'a' * 32}/{name}",
        f"{head}/1/{signature}/{name}",
        f"{head}/{number}/{signature}/b.txt",
        f"{head}/x/{signature}/{name}",
        f"{head}/{number}/%c3%a9/{name}",
        f"{head}/{number}/{signature}/..%2f{name}",
    ]
    assert [httpx.get(url).status_code for url in wrong] == [404] * len(wrong)


RANGES = [
    ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
    ("bytes=5-", 206, "56789", "bytes 5-9/10"),
    ("bytes=-2", 206, "89", "bytes 8-9/10"),
    ("bytes=8-100", 206, "89", "bytes 8-9/10"),
    ("bytes=-100", 200, "0123456789", None),
    ("bytes=0-1,3-4", 200, "0123456789", None),
    ("bytes=4-2", 200, "0123456789", None),
    ("lines=1-2", 200, "0123456789", None),
    ("bytes=10-", 416, None, "bytes */10"),
    ("bytes=-0", 416, None, "bytes */10"),
]


@pytest.mark.parametrize(("wanted", "status", "body", "content_range"), RANGES)
def test_a_part_of_an_output(
    http: httpx.Client, wanted: str, status: int, body: str | None, content_range: str | None
) -> None:
    answer = httpx.get(output(http, "digits.txt", "0123456789"), headers={"range": wanted})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if body is not None:
        assert answer.text == body
        assert answer.headers["content-length"] == str(len(body))


def test_an_empty_output_is_empty(http: httpx.Client) -> None:
    answer = httpx.get(output(http, "nothing.txt", ""))
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_output_used_as_an_input_is_read_from_here(http: httpx.Client, server: Server) -> None:
    link = output(http, "again.txt", "again")
    made = predict(http, {"image": link}).json()
    path = server.script.seen[made["id"]]["files"][link]
    with open(path) as file:  # noqa: PTH123
        assert file.read() == "again"


def test_each_of_many_output_files_has_an_address_of_its_own(http: httpx.Client) -> None:
    body = {"version": VERSIONS["files"], "input": {"do": [["file", "a.txt", "content", 12]]}}
    made = http.post("/v1/predictions", json=body, headers={"prefer": "wait"}).json()
    names = [address.rpartition("/")[2] for address in made["output"]]
    assert names == ["a.txt", *(f"{number}a.txt" for number in range(1, 12))]
    assert [http.get(address).text for address in made["output"]] == ["content"] * 12
