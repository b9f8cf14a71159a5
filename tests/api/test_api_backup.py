"""The yard in one file over HTTP: for its owner, whole, with what is deleted while it is sent."""

from __future__ import annotations

import io

import httpx
from server import Server

from modelyard.backup.archive import Reader


def test_the_owner_gets_a_whole_backup(server: Server, http: httpx.Client) -> None:
    http.post("/v1/files", files={"content": ("a.txt", b"kept")})

    answer = http.post("/v1/yard/backup")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.headers["content-disposition"].startswith('attachment; filename="yard-')
    found = {member.name: member.read() for member in Reader(io.BytesIO(answer.content)).members()}
    assert b"kept" in found.values()
    assert "rows/tokens/000001.jsonl" in found


def test_a_file_that_is_deleted_while_the_backup_is_sent_is_in_it(server: Server, http: httpx.Client) -> None:
    content = bytes(8 * 1024 * 1024)
    for _ in range(2):
        file = http.post("/v1/files", files={"content": ("a.bin", content)}).json()

    with http.stream("POST", "/v1/yard/backup") as answer:
        pieces = answer.iter_bytes()
        # The rows are read before the first file is sent; both do not fit into what a connection holds.
        received = next(pieces)
        while b"contents.json" not in received:
            received += next(pieces)
        with server.client() as other:
            assert other.delete(f"/v1/files/{file['id']}").status_code == 204
            assert other.get(f"/v1/files/{file['id']}").status_code == 404
        received += b"".join(pieces)

    found = {member.name: member.size for member in Reader(io.BytesIO(received)).members()}
    assert list(found.values()).count(len(content)) == 2


def test_others_get_none(server: Server) -> None:
    with server.client(server.other_token) as other:
        forbidden = other.post("/v1/yard/backup")
    unknown = httpx.post(f"{server.url}/v1/yard/backup")

    assert (forbidden.status_code, unknown.status_code) == (403, 401)
    assert forbidden.headers["content-type"] == unknown.headers["content-type"] == "application/problem+json"
