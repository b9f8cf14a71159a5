"""Starts that cannot succeed say why and what to do, and harm nothing; a folder's owner is alone in it."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable

import pytest

from tests.faults.test_workers import HELLO
from tests.faults.yard import TOKEN, Yard


def test_a_second_yard_on_one_data_folder_says_so_and_exits(yard: Yard) -> None:
    second = yard.command("up", "--port", "0", "--data", str(yard.data))
    assert second.returncode == 1
    assert "Another yard is running on the data folder" in second.stderr
    assert "hint:" in second.stderr
    assert yard.http.get("/healthz").status_code == 200


def test_a_busy_port_is_named(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = yard.command("up", "--port", str(port), "--data", str(yard.data))
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use" in refused.stderr


@pytest.mark.parametrize("place", ["a file", "nowhere to write"])
def test_a_data_folder_that_cannot_be_used_is_named(make_yard: Callable[..., Yard], place: str) -> None:
    yard = make_yard()
    if place == "a file":
        yard.data.write_text("not a folder")
        data = yard.data
    else:
        data = yard.folder / "missing" / "data"
        (yard.folder / "missing").write_text("in the way")
    refused = yard.command("up", "--port", "0", "--data", str(data))
    assert refused.returncode == 1
    assert str(data) in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_data_folder_of_a_newer_yard_is_refused_and_left_alone(yard: Yard) -> None:
    assert yard.stop() == 0
    path = yard.data / "yard.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    refused = yard.command("up", "--port", "0", "--data", str(yard.data))
    assert refused.returncode == 1
    assert "9999" in refused.stderr
    assert "Traceback" not in refused.stderr
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_second_start_keeps_everything_and_shows_no_token(yard: Yard) -> None:
    version = yard.push("hello", HELLO)
    prediction_id = yard.create(version, {"text": "first"}, prefer="wait")["id"]
    assert yard.stop() == 0
    yard.start()
    assert yard.get(prediction_id)["output"] == "hello first"
    assert "r8_" not in yard.log()


def test_the_first_start_without_a_given_token_shows_one_once(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(settings={"MODELYARD_ADMIN_TOKEN": ""}).start()
    assert yard.log().count("r8_") == 1
    assert TOKEN not in yard.log()
    assert yard.http.get("/v1/account").status_code == 401


def test_workers_never_see_the_yards_own_environment(yard: Yard) -> None:
    source = HELLO.replace('return "hello " + text', "import os; return repr(sorted(os.environ.items()))")
    shown = yard.create(yard.push("nosy", source), {}, prefer="wait")
    assert shown["status"] == "succeeded", shown
    assert TOKEN not in shown["output"]
    assert os.environ.get("PATH", "") in shown["output"]
