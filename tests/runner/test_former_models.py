"""Models written for older Cogs, in a real worker and a real server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import server

from tests.runner.harness import worker


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where a file `w.txt` is served."""
    (tmp_path / "w.txt").write_text("weighty")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path), **named)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    served = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/w.txt"
    served.shutdown()
    served.server_close()


def test_inputs_with_none_as_default_may_be_left_out() -> None:
    with worker("former.py:Predictor") as one:
        assert one.output({}) == "None None 3 None"
        assert one.output({"text": "a", "seed": 4.0}, "p2") == "a 4 3 None"


def test_the_server_takes_a_call_without_them_although_the_schema_requires_them() -> None:
    with server("former.py:Predictor") as one:
        document = one.ask("GET", "/openapi.json").json
        assert document["components"]["schemas"]["Input"]["required"] == ["text", "seed"]
        assert document["x-modelyard-omittable"] == {"Input": ["text", "seed"]}
        for values in ({"steps": 5}, {"text": None, "seed": None, "steps": 5}):
            answer = one.ask("POST", "/predictions", {"input": values})
            assert (answer.status, answer.json["output"]) == (200, "None None 5 None")
        assert one.ask("POST", "/predictions", {"input": {"seed": "x"}}).status == 422


def test_weights_of_any_kind_come_as_text(address: str) -> None:
    with worker("former.py:Predictor", weights=address) as one:
        assert one.output({}) == f"None None 3 {address}"


def test_weights_as_a_file_are_read_from_where_they_are(address: str, tmp_path: Path) -> None:
    with worker("former.py:OpensWeights", weights=address) as one:
        assert one.output() == "URLFile weighty"
    with worker("former.py:OpensWeights", weights="data:,few") as one:
        assert one.output() == "BytesIO few"
    with worker("former.py:OpensWeights", weights=str(tmp_path / "w.txt")) as one:
        assert one.output() == "BufferedReader weighty"


def test_weights_beside_the_model_are_taken_where_none_are_named(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "models" / "former.py").read_text()
    (tmp_path / "former.py").write_text(source)
    (tmp_path / "weights").write_text("baked in")
    with worker("former.py:OpensWeights", root=tmp_path) as one:
        assert one.output() == "BufferedReader baked in"
    with worker("former.py:PlainPathWeights", root=tmp_path) as one:
        assert one.output() == "Path weights"


def test_weights_that_cannot_be_had_fail_the_setup_with_a_reason() -> None:
    with worker("former.py:OpensWeights", ready=False, weights="/nowhere/w.bin") as one:
        frame = one.ready()
        assert frame["kind"] == "setup_failed"
        assert "No such file or directory: '/nowhere/w.bin'" in frame["error"]


@pytest.mark.parametrize(("kind", "content"), [("text", b"text"), ("bytes", b"bytes")])
def test_a_file_output_may_be_text_or_bytes_in_memory(kind: str, content: bytes) -> None:
    with worker("former.py:file") as one:
        (file,) = one.run({"kind": kind})["files"]
        assert Path(file["path"]).read_bytes() == content


def test_the_authors_coders_write_the_output_wherever_their_values_stand() -> None:
    with worker("former.py:line") as one:
        ends = [{"x": 1, "seen": True}, {"deep": {"x": 2, "seen": True}}]
        assert one.output({}) == {"ends": ends, "name": None}
        assert "a point left of the origin" in one.run({"x": -1}, "p2")["error"]
    with worker("former.py:points") as one:
        one.run({})
        assert one.items() == [{"x": 0, "seen": True}, {"x": 1, "seen": True}]


def test_cogs_own_command_starts_the_server() -> None:
    with server("former.py:Predictor", module="cog.server.http") as one:
        assert one.ask("POST", "/predictions", {"input": {"text": "a"}}).json["output"] == "a None 3 None"


def test_under_the_rules_of_an_old_cog_null_is_what_an_input_with_none_as_default_takes(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run(text: str = None, n: int = 3) -> str:\n    return f'{text} {n}'\n")
    with server("run.py:run", root=tmp_path, MODELYARD_PYDANTIC="1") as one:
        found = one.ask("GET", "/openapi.json").json["components"]["schemas"]["Input"]
        assert "required" not in found
        assert found["properties"]["text"]["nullable"] is True
        assert one.ask("POST", "/predictions", {"input": {"text": None}}).json["output"] == "None 3"
