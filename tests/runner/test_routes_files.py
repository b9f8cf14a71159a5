"""Files through a real server: in as data URLs, out as data URLs or uploads, and nothing left on the disk."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from receiver import receiver
from serving import Server, server

MODEL = """
import io, os
from typing import Any, Iterator, List
from cog import BaseModel, Path, streaming

class Pair(BaseModel):
    one: Path
    more: List[Path]

def write(name: str, data: bytes) -> Path:
    path = Path(name)
    path.write_bytes(data)
    return path

def echo(path: Path) -> Path:
    return path

def copy(path: Path, name: str) -> Path:
    return write(name, path.read_bytes())

def nested(n: int = 2) -> Pair:
    return Pair(one=write('a.txt', b'A'), more=[write(f'{i}.txt', b'%d' % i) for i in range(n)])

@streaming
def several(n: int = 3) -> Iterator[Path]:
    for i in range(n):
        yield write('same.txt', b'%d' % i)

def missing() -> Path:
    return Path('not-there.png')

def describe(path: Path, more: List[Path] = []) -> List[str]:
    return [f'{p.suffix} {p.stat().st_size}' for p in (path, *more)]

def long(n: int) -> str:
    return 'x' * n
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run.py").write_text(MODEL)
    return tmp_path


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def bytes_of(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def left_behind(one: Server) -> list[str]:
    """Files under the scratch folders of the server's process."""
    env = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    worker = Path(f"/proc/{env[0]}/environ").read_bytes().decode()
    scratch = next(line for line in worker.split("\0") if line.startswith("TMPDIR=")).removeprefix("TMPDIR=")
    return [
        str(path)
        for folder in ("inputs", "predictions")
        for path in Path(scratch).parent.joinpath(folder).rglob("*")
        if path.is_file()
    ]


@pytest.mark.parametrize("size", [10, 1_000_000, 6_000_000])
def test_a_file_goes_in_and_comes_out_unchanged(root: Path, size: int) -> None:
    data = os.urandom(size)
    with server("run.py:echo", root=root) as one:
        told = one.predict({"path": data_url(data)}).json
        assert told["status"] == "succeeded", told
        assert told["output"].startswith("data:image/png;base64,")
        assert bytes_of(told["output"]) == data
        assert left_behind(one) == []


def test_long_data_urls_keep_their_kind_and_their_place(root: Path) -> None:
    first, second = data_url(b"a" * 5000, "image/jpeg"), data_url(b"b" * 6000, "text/csv")
    with server("run.py:describe", root=root) as one:
        told = one.predict({"path": first, "more": [second, first, data_url(b"short")]}).json
        assert told["output"] == [".jpg 5000", ".csv 6000", ".jpg 5000", ".png 5"]
        odd = "data:image/jpeg;base64," + base64.urlsafe_b64encode(b"\xff\xfe" * 2500).decode().rstrip("=")
        assert one.predict({"path": odd}).json["output"] == [".jpg 5000"]
        answer = one.predict({"path": "data:image/png;base64," + "!" * 5000})
        assert answer.status == 422
        assert answer.json["detail"][0]["loc"] == ["body", "input", "path"]


def test_types_of_files_are_told_by_their_names(root: Path) -> None:
    with server("run.py:copy", root=root) as one:
        kinds = {"x.webp": "image/webp", "x.tar.gz": "application/gzip", "x": "application/octet-stream"}
        for name, kind in kinds.items():
            told = one.predict({"path": data_url(b"x"), "name": name}).json
            assert told["output"] == f"data:{kind};base64,eA=="


def test_nested_files_and_those_of_streams_come_out_too(root: Path) -> None:
    with server("run.py:nested", root=root) as one:
        output = one.predict().json["output"]
        assert bytes_of(output["one"]) == b"A"
        assert [bytes_of(url) for url in output["more"]] == [b"0", b"1"]
    with server("run.py:several", root=root) as one:
        assert [bytes_of(url) for url in one.predict().json["output"]] == [b"0", b"1", b"2"]
        body = one.predict({}, {"Accept": "text/event-stream"}).body
        assert body.count(b"event: output\n") == 3
        assert body.count(b"data:text/plain;base64,") == 6
        assert left_behind(one) == []


def test_a_missing_file_fails_the_prediction(root: Path) -> None:
    with server("run.py:missing", root=root) as one:
        told = one.predict().json
        assert told["status"] == "failed"
        assert "not-there.png" in told["error"]


def test_long_values_pass(root: Path) -> None:
    with server("run.py:long", root=root) as one:
        assert len(one.predict({"n": 10_000_000}).json["output"]) == 10_000_000
        assert left_behind(one) == []


def test_uploads_replace_files_by_links_nested_ones_as_well(root: Path) -> None:
    with receiver() as store, server("run.py:nested", "--upload-url", f"{store.url}/up?key=1", root=root) as one:
        told = one.predict(id="u1").json
        assert told["output"] == {
            "one": f"{store.url}/up/a.txt",
            "more": [f"{store.url}/up/0.txt", f"{store.url}/up/1.txt"],
        }
        assert {(r.method, r.path, r.body) for r in store.requests} == {
            ("PUT", "/up/a.txt?key=1", b"A"),
            ("PUT", "/up/0.txt?key=1", b"0"),
            ("PUT", "/up/1.txt?key=1", b"1"),
        }
        assert {r.headers["content-type"] for r in store.requests} == {"text/plain"}
        assert {r.headers["x-prediction-id"] for r in store.requests} == {"u1"}


def test_a_location_is_taken_over_and_a_refused_upload_fails_the_prediction(root: Path) -> None:
    answers = [(201, {"Location": "https://cdn.invalid/x.txt?signature=1"}), (500, {})]
    flag = "--upload-url"
    with receiver(lambda _: answers.pop(0)) as store, server("run.py:several", flag, store.url, root=root) as one:
        assert one.predict({"n": 1}).json["output"] == ["https://cdn.invalid/x.txt"]
        told = one.predict({"n": 1}).json
        assert told["status"] == "failed"
        assert told["error"] == "Failed to upload output: upload returned status 500 Internal Server Error"
        one.until("READY")


def test_no_scratch_folder_outlives_the_server(root: Path, tmp_path: Path) -> None:
    with server("run.py:nested", root=root, TMPDIR=str(tmp_path)) as one:
        one.predict()
        assert list(tmp_path.glob("modelyard-serve-*"))
    assert not list(tmp_path.glob("modelyard-serve-*"))
