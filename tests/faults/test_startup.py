"""Starts that cannot succeed say why and what to do, and harm nothing; a folder's owner is alone in it."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


def without_privileges() -> list[str]:
    """What a command is to be begun with so that permissions hold for it: nothing, except for root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "these tests need setpriv (Debian: util-linux) when they run as root"
    gone = "-dac_override,-dac_read_search"
    return [setpriv, f"--bounding-set={gone}", f"--inh-caps={gone}"]


@contextmanager
def with_mode(path: Path, mode: int) -> Iterator[None]:
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a yard has used and left; the tests with it change nothing in it."""
    yard = Yard(tmp_path_factory.mktemp("used"))
    try:
        assert yard.start().stop() == 0
    finally:
        yard.end()
    return yard.data


def up(data: Path) -> tuple[int, str]:
    """Start a yard for which permissions hold; its exit status (0 when it is ready) and what it said."""
    command = [*without_privileges(), sys.executable, "-m", "modelyard", "up", "--port", "0", "--data", str(data)]
    # It logs beside what it says, so all of it goes one way; the end of that is the end of the yard.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as yard:
        assert yard.stdout is not None
        said = ""
        for line in yard.stdout:
            said += line
            if line.startswith("Yard ready"):
                yard.terminate()
        return yard.wait(60), said


@pytest.mark.parametrize("name", ["", "blobs", "caches", "instances", "journals", "store", "uploads"])
def test_a_folder_that_this_user_may_only_read_is_named_and_no_yard_starts(used_folder: Path, name: str) -> None:
    with with_mode(used_folder / name, 0o500):
        assert_named(used_folder / name, *up(used_folder))


@pytest.mark.parametrize("name", ["blobs", "instances", "store"])
def test_a_folder_that_is_closed_to_this_user_is_named_and_no_yard_starts(used_folder: Path, name: str) -> None:
    with with_mode(used_folder / name, 0o000):
        assert_named(used_folder / name, *up(used_folder))


def test_a_file_in_the_place_of_a_folder_is_named_and_no_yard_starts(make_yard: Callable[..., Yard]) -> None:
    data = make_yard().data
    data.mkdir()
    (data / "instances").write_text("in the way")
    assert_named(data / "instances", *up(data))


def assert_named(path: Path, code: int, said: str) -> None:
    assert code == 1, said
    assert f"error: {path} cannot be used: " in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert "ready" not in said


def test_a_data_folder_that_is_closed_to_this_user_is_named(used_folder: Path) -> None:
    with with_mode(used_folder, 0o000):
        code, said = up(used_folder)
    assert code != 0
    assert f"error: {used_folder}" in said
    assert "Permission denied" in said
    assert "Traceback" not in said


def test_a_database_that_this_user_may_only_read_is_named_and_no_yard_starts(used_folder: Path) -> None:
    with with_mode(used_folder / "yard.db", 0o400):
        assert_named(used_folder / "yard.db", *up(used_folder))


def test_without_privileges_a_yard_starts_on_a_folder_of_its_own(used_folder: Path) -> None:
    code, said = up(used_folder)
    assert (code, "Yard ready" in said) == (0, True), said


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
