"""How many layers a push sends at once, and in which pieces: what Cog's variables say, on a real registry."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import foreign_registry
import httpx
import pytest
from weights_servers import serving
from yard_process import Run, Server

from modelyard.cli import pace
from modelyard.cli.pace import Pace
from modelyard.errors import UsageError


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its HOST:PORT, and the file with what was asked of it."""
    folder = tmp_path_factory.mktemp("registry")
    with foreign_registry.up(folder) as host:
        yield host, folder / "log.txt"


@pytest.fixture
def project(tmp_path: Path) -> dict[str, str]:
    """A project with 900000 bytes that cannot be made smaller, and what names its base."""
    (tmp_path / "cog.yaml").write_text(f'build: {{python_version: "{bases.OWN}"}}\nrun: "run.py:run"\n')
    (tmp_path / "run.py").write_text("def run(text: str) -> str:\n    return text.upper()\n")
    (tmp_path / ".dockerignore").write_text("home\nbase\n")
    (tmp_path / "data.bin").write_bytes(os.urandom(900_000))
    return {"MODELYARD_BASE_IMAGE": f"oci:{bases.small(tmp_path / 'base')}"}


@pytest.mark.parametrize("name", [pace.AT_ONCE, pace.WHOLE, pace.PIECE])
@pytest.mark.parametrize("value", ["0", "-1", "5.5", "many", "0x10", "1e3", "9" * 30, "٥"])
def test_a_value_that_is_no_number_is_refused_by_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} is '{value}'; wanted: a number of") as refusal:
        pace.read({name: value})
    assert f"unset {name}" in str(refusal.value.hint)


def test_where_nothing_is_said_it_is_as_usual() -> None:
    assert pace.read({}) == pace.read({pace.AT_ONCE: " "}) == Pace()
    assert pace.read({pace.AT_ONCE: "2", pace.WHOLE: "10", pace.PIECE: "007"}) == Pace(2, 10, 7)


@pytest.mark.parametrize("place", ["yard", "elsewhere"])
def test_nonsense_ends_a_push_before_anything_is_made(
    yard: Run, server: Server, tmp_path: Path, project: dict[str, str], place: str
) -> None:
    name = "yard/paced" if place == "yard" else "127.0.0.1:1/me/paced"
    given = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token, **project}
    done = yard("push", name, COG_PUSH_CONCURRENCY="lots", **given)
    assert done.returncode == 2
    assert "error: COG_PUSH_CONCURRENCY is 'lots'; wanted: a number of layers at once, from 1" in done.stderr
    assert not (tmp_path / ".cog" / "layers").exists()


@pytest.mark.parametrize(
    ("whole", "piece", "pieces"), [("1000000000", "100000", 0), ("800000", "300000", 4), ("1", "500000", 2)]
)
def test_what_is_larger_than_the_threshold_goes_in_pieces_of_the_size_that_is_said(
    yard: Run, project: dict[str, str], registry: tuple[str, Path], whole: str, piece: str, pieces: int
) -> None:
    host, log = registry
    name = f"me/m{uuid.uuid4().hex[:10]}"
    told = {pace.WHOLE: whole, pace.PIECE: piece}
    done = yard("push", f"{host}/{name}", **told, **project)
    assert done.returncode == 0, done.stderr
    # Of the one layer whose size is known; others may be of more, and of fewer bytes than one piece.
    sent = Counter(re.findall(rf'"PATCH /v2/{name}/blobs/uploads/([0-9a-f-]+)', log.read_text()))
    assert pieces in sent.values() if pieces else not sent


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_layers_are_sent_at_once_as_is_said(
    yard: Run, project: dict[str, str], registry: tuple[str, Path], most: int
) -> None:
    """What stands before the registry holds layers back until so many are there, and a moment more."""
    changed, here, seen = threading.Condition(), [0], [0]

    def hold() -> None:
        with changed:
            here[0] += 1
            seen[0] = max(seen[0], here[0])
            changed.notify_all()
            changed.wait_for(lambda: seen[0] >= most, 30)
            changed.wait_for(lambda: seen[0] > most, 0.2)

    def handle(handler: Any) -> None:
        body = handler.body()
        is_layer = handler.command == "PUT" and "/blobs/" in handler.path
        if is_layer:
            hold()
        names = ("Content-Type", "Content-Range", "Accept")
        said = {key: handler.headers[key] for key in names if handler.headers[key]}
        reply = httpx.request(handler.command, f"http://{registry[0]}{handler.path}", headers=said, content=body)
        if is_layer:
            with changed:
                here[0] -= 1
        told = {key: reply.headers[key] for key in ("Location", "Range") if key in reply.headers}
        handler.answer(reply.status_code, reply.content, **told)

    with serving(handle) as url:
        place = f"{url.partition('://')[2]}/me/m{uuid.uuid4().hex[:10]}"
        done = yard("push", place, COG_PUSH_CONCURRENCY=str(most), **project)
    assert done.returncode == 0, done.stderr
    assert seen[0] == most
