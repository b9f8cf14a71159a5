"""`yard backup` and `yard restore` as people call them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tarfile
from pathlib import Path

import httpx
import pytest
import yard_process
from yard_process import Run, Server


@pytest.fixture
def asked(yard: Run, server: Server) -> Run:
    """The command as the owner of the yard that runs."""

    def run(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
        return yard(*arguments, MODELYARD_URL=server.url, **{"MODELYARD_TOKEN": server.token, **options})

    return run


def test_a_running_yard_is_written_into_a_file_that_its_owner_alone_may_read(asked: Run, tmp_path: Path) -> None:
    done = asked("backup", "yard.tar")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Backed up ")
    assert done.stdout.endswith(" in yard.tar\n")
    assert done.stderr == ""
    assert (tmp_path / "yard.tar").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "yard.tar.part").exists()
    with tarfile.open(tmp_path / "yard.tar") as tar:
        assert tar.getnames()[0] == "backup.json"


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked_for(asked: Run, tmp_path: Path) -> None:
    (tmp_path / "yard.tar").write_text("mine")

    kept = asked("backup", "yard.tar")
    assert kept.returncode == 1
    assert kept.stderr == "error: yard.tar is there already\nhint: choose another name, or say --force\n"
    assert (tmp_path / "yard.tar").read_text() == "mine"

    forced = asked("backup", "--force", "--json", "yard.tar")
    assert forced.returncode == 0, forced.stderr
    told = json.loads(forced.stdout)
    assert (told["file"], told["missing"], told["holds"]) == ("yard.tar", 0, "yard")
    assert told["bytes"] == (tmp_path / "yard.tar").stat().st_size


def test_a_backup_goes_through_a_pipe_and_is_checked(asked: Run, server: Server, tmp_path: Path) -> None:
    environ = {**yard_process.environment(tmp_path), "MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    with (tmp_path / "yard.tar").open("wb") as out:
        done = subprocess.run([yard_process.YARD, "backup", "-"], stdout=out, stderr=subprocess.PIPE, env=environ)
    assert done.returncode == 0
    assert done.stderr.startswith(b"Backed up ")

    checked = asked("restore", "--check", "yard.tar")

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("yard.tar is whole: a backup of ")


def test_a_backup_is_not_written_to_a_terminal(server: Server, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    done = subprocess.run(
        [yard_process.YARD, "backup", "-"],
        stdout=child,
        stderr=subprocess.PIPE,
        env=yard_process.environment(tmp_path),
        text=True,
    )
    os.close(child)
    os.close(parent)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: a backup is not for a terminal")


@pytest.mark.parametrize(
    ("file", "status", "said"),
    [
        (".", 2, "error: . is a folder; wanted: the name of the file to write"),
        ("a/b.tar", 2, "error: there is no folder a"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_the_yard_is_asked(
    yard: Run, file: str, status: int, said: str
) -> None:
    done = yard("backup", file, MODELYARD_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stderr.splitlines()[0]) == (status, said)


def test_only_the_owner_may_take_a_backup(asked: Run, server: Server, tmp_path: Path) -> None:
    nobody = asked("backup", "yard.tar", MODELYARD_TOKEN="r8_" + "x" * 37)
    assert nobody.returncode == 1
    assert "does not accept the token" in nobody.stderr
    assert list(tmp_path.glob("yard.tar*")) == []
    answer = httpx.post(f"{server.url}/v1/yard/backup")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


def test_a_yard_that_does_not_answer_is_named_with_the_ways_out(yard: Run) -> None:
    done = yard("backup", "yard.tar", MODELYARD_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no yard answers at http://127.0.0.1:1: ")
    assert "of a yard that is down, name the data folder with --data" in done.stderr


def test_there_and_back_without_a_running_yard(yard: Run, tmp_path: Path) -> None:
    with yard_process.up(tmp_path) as server:
        url = server.url
        running = yard("backup", "yard.tar", "--data", "data")
        over = yard("restore", "yard.tar", "--data", "data")
        answer = httpx.get(f"{url}/v1/account", headers={"authorization": f"Bearer {server.token}"})
    assert (running.returncode, over.returncode) == (1, 1)
    assert running.stderr.startswith(f"error: a yard runs on the data folder {tmp_path}/data\nhint: ask it")
    assert over.stderr == "error: there is no file yard.tar\n"

    # Named, or found because it is the one of the settings and its yard is down.
    named = yard("backup", "yard.tar", "--data", "data")
    found = yard("backup", "again.tar", MODELYARD_DATA=str(tmp_path / "data"), MODELYARD_URL=url)
    assert named.returncode == found.returncode == 0, named.stderr + found.stderr
    assert f"reading {tmp_path}/data, whose yard is down." in found.stderr

    with yard_process.up(tmp_path):
        over = yard("restore", "yard.tar", "--data", "data", "--replace")
        beside = yard("restore", "yard.tar", "--data", "second/data", "--json")
    assert over.returncode == 1
    assert over.stderr.startswith(f"error: a yard runs on the data folder {tmp_path}/data; a backup is not put over")
    assert "stop it first with `yard down`" in over.stderr
    assert beside.returncode == 0, beside.stderr
    told = json.loads(beside.stdout)
    assert (told["data"], told["aside"]) == (str(tmp_path / "second" / "data"), None)
    # The token is the one that was made for the first yard.
    with yard_process.up(tmp_path / "second", admin_token=None) as second:
        again = httpx.get(f"{second.url}/v1/account", headers={"authorization": f"Bearer {yard_process.TOKEN}"})
    assert again.json() == answer.json()

    twice = yard("restore", "yard.tar", "--data", "second/data")
    assert (twice.returncode, "say --replace" in twice.stderr) == (1, True)
    replaced = yard("restore", "yard.tar", "--data", "second/data", "--replace")
    assert replaced.returncode == 0, replaced.stderr
    assert f"What was there before is in {tmp_path}/second/data/before-restore-" in replaced.stdout


def test_a_damaged_backup_touches_nothing(yard: Run, tmp_path: Path) -> None:
    (tmp_path / "yard.tar").write_bytes(b"no backup" * 1000)
    done = yard("restore", "yard.tar", "--data", "data")
    assert done.returncode == 1
    assert done.stderr.startswith("error: this is no backup of a yard")
    assert not (tmp_path / "data").exists()
