from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server import Server

from modelyard.api import openapi, routes

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_requests_of_any_kind_get_the_answers_that_the_document_promises(server: Server, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "schemathesis"
    options = ["--checks", CHECKS, "--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
    command = [program, "run", f"{server.url}/openapi.json", *options, "-H", f"Authorization: Bearer {server.token}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-6000:]


def test_every_path_of_the_table_is_in_the_document() -> None:
    described = openapi.document("http://x")["paths"]
    for path, methods in routes._TABLE.items():
        # OpenAPI 3.1 has no word for the method QUERY.
        assert {method.lower() for method in methods} - {"query"} == described[path].keys()
