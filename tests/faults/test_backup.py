"""A yard at work is backed up, killed in the middle of it, backed up again, and put back elsewhere; disks fill up."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import small_disks

from tests.faults.yard import TERMINAL, Yard

MEBIBYTE = 1024 * 1024
# A model that makes a file of what it is given, and one that takes as long as it is told.
COPIES = """
import shutil, time
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path, number: int, seconds: float = 0.0) -> Path:
        print(f"copying number {number}")
        time.sleep(seconds)
        out = Path(f"copy-{number}.bin")
        shutil.copyfile(file, out)
        with open(out, "ab") as more:
            more.write(str(number).encode() * 1000)
        return out
"""


class Load:
    """Predictions with files that come in as long as it is not told to end."""

    def __init__(self, yard: Yard, version: str) -> None:
        self._yard = yard
        self._version = version
        self._ended = threading.Event()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run)
        self.accepted: dict[str, int] = {}

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._one(next(self._numbers))
            except (httpx.HTTPError, AssertionError, KeyError):
                # The yard is away for a moment.
                time.sleep(0.05)

    def _one(self, number: int) -> None:
        http = self._yard.http
        uploaded = http.post("/v1/files", files={"content": (f"{number}.bin", content(number))}).json()
        values = {"file": uploaded["urls"]["get"], "number": number}
        if number % 10 == 9:
            values["seconds"] = 1.0
        made = self._yard.create(self._version, values)
        self.accepted[made["id"]] = number
        if number % 7 == 6:
            # Deleted files are deleted while a backup is made, too.
            other = http.post("/v1/files", files={"content": ("gone.bin", content(number))}).json()
            http.delete(f"/v1/files/{other['id']}")


def content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest() * 2000


def copy_of(number: int) -> bytes:
    return content(number) + str(number).encode() * 1000


def start_backup(yard: Yard, path: Path) -> subprocess.Popen[str]:
    return yard.launched("backup", str(path), "--json")


def until_it_grows(path: Path, size: int) -> None:
    part = path.with_name(path.name + ".part")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > size):
        assert time.monotonic() < deadline, f"{part} does not grow"
        time.sleep(0.002)


def check_whole(path: Path) -> None:
    """Every row in the file has its blob beside it, with the sum that the row says."""
    blobs: dict[str, str] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            found = tar.extractfile(member)
            assert found is not None
            data = found.read()
            if member.name.startswith("blobs/"):
                blobs[member.name.removeprefix("blobs/")] = hashlib.sha256(data).hexdigest()
            elif member.name.startswith("rows/"):
                columns, *lines = [json.loads(line) for line in data.splitlines()]
                rows.setdefault(member.name.split("/")[1], []).extend(
                    dict(zip(columns, line, strict=True)) for line in lines
                )
    assert rows["files"]
    for row in rows["files"]:
        assert blobs[row["blob_key"]] == row["sha256"]
    for row in rows["repository_blobs"]:
        digest = row["digest"].removeprefix("sha256:")
        assert blobs[f"oci/sha256/{digest}"] == digest
    ended = [row for row in rows["predictions"] if row["status"] == "succeeded"]
    assert ended
    assert len(ended) < len(rows["predictions"]), "none was running or waiting"
    for row in ended:
        number = json.loads(row["input"])["number"]
        assert blobs[f"outputs/{row['id']}/0/copy-{number}.bin"] == hashlib.sha256(copy_of(number)).hexdigest()


@pytest.mark.timeout(400)
def test_a_yard_at_work_is_backed_up_killed_in_the_middle_backed_up_again_and_restored_elsewhere(
    make_yard: Callable[..., Yard], tmp_path: Path, unmade_postgres_url: str
) -> None:
    yard = make_yard().start()
    # So much that a kill hits the middle of it.
    ballast = os.urandom(60 * MEBIBYTE)
    for _ in range(3):
        yard.http.post("/v1/files", files={"content": ("ballast.bin", ballast)}).raise_for_status()
    version = yard.push("copies", COPIES)
    path = tmp_path / "yard.tar"
    with Load(yard, version) as load:
        yard.finished(first_of(load))
        cut = start_backup(yard, path)
        until_it_grows(path, 8 * MEBIBYTE)
        yard.kill()
        _, said = cut.communicate(timeout=60)
        assert cut.returncode == 1, said
        assert "went away" in said
        assert "hint: nothing was kept" in said
        assert list(tmp_path.glob("yard.tar*")) == []

        yard.start()
        file = yard.http.post("/v1/files", files={"content": ("a.bin", content(0))}).json()["urls"]["get"]
        yard.create(version, {"file": file, "number": 0, "seconds": 4.0})
        good = start_backup(yard, path)
        told, said = good.communicate(timeout=200)
        assert good.returncode == 0, said
        assert json.loads(told)["missing"] == 0
        accepted = dict(load.accepted)
    check_whole(path)

    for name, database in (("second", None), ("third", unmade_postgres_url)):
        other = make_yard(name, database=database)
        into = ["--data", str(other.data), *(["--database", database] if database else [])]
        # Beside the yard that still runs.
        restored = yard.command("restore", str(path), *into)
        assert restored.returncode == 0, restored.stderr
        other.start()
        shown = all_ended(other)
        assert shown.keys() <= yard.rows().keys()
        assert len(shown) == json.loads(told)["rows"]["predictions"]
        check_restored(other, version, shown, accepted)
        other.stop()


def check_restored(yard: Yard, version: str, shown: dict[str, dict[str, Any]], accepted: dict[str, int]) -> None:
    """What it shows is what was asked for and made; the model runs and the token works, there as here."""
    assert all(prediction["status"] == "succeeded" for prediction in shown.values()), shown
    for prediction_id, prediction in shown.items():
        number = prediction["input"]["number"]
        assert accepted.get(prediction_id, number) == number
        fetched = yard.http.get(prediction["output"])
        assert (fetched.status_code, fetched.content) == (200, copy_of(number))
        assert prediction["logs"] == f"copying number {number}\n"
    file = yard.http.post("/v1/files", files={"content": ("a.bin", content(1))}).json()["urls"]["get"]
    new = yard.create(version, {"file": file, "number": 1})["id"]
    assert yard.finished(new)["status"] == "succeeded"


def first_of(load: Load) -> str:
    deadline = time.monotonic() + 60
    while not load.accepted:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return next(iter(load.accepted))


def all_ended(yard: Yard) -> dict[str, dict[str, Any]]:
    """Every prediction of a yard, when all have ended."""
    deadline = time.monotonic() + 120
    while True:
        shown: dict[str, dict[str, Any]] = {}
        path: str | None = "/v1/predictions"
        while path:
            page = yard.http.get(path).json()
            shown |= {each["id"]: each for each in page["results"]}
            path = page["next"] and page["next"].removeprefix(yard.url)
        if all(each["status"] in TERMINAL for each in shown.values()):
            return {prediction_id: yard.get(prediction_id) for prediction_id in shown}
        assert time.monotonic() < deadline, f"they did not end\n{yard.log()}"
        time.sleep(0.2)


def test_whoever_leaves_in_the_middle_of_a_backup_leaves_nothing_behind(yard: Yard, tmp_path: Path) -> None:
    content = os.urandom(60 * MEBIBYTE)
    for _ in range(2):
        file = yard.http.post("/v1/files", files={"content": ("x.bin", content)}).json()
    path = tmp_path / "yard.tar"
    for number in (signal.SIGINT, signal.SIGTERM):
        going = start_backup(yard, path)
        until_it_grows(path, 4 * MEBIBYTE)
        going.send_signal(number)
        going.communicate(timeout=30)
        assert going.returncode == 130
        assert list(tmp_path.glob("yard.tar*")) == []
    # Nothing of it is held any more: what is deleted is gone.
    assert yard.http.delete(f"/v1/files/{file['id']}").status_code == 204
    deadline = time.monotonic() + 10
    while list((yard.data / "blobs").glob(".held/**/file*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert yard.command("backup", str(path)).returncode == 0
    assert "Traceback" not in yard.log()


def test_whoever_leaves_in_the_middle_of_a_restore_leaves_nothing_behind(yard: Yard, tmp_path: Path) -> None:
    # So much that the middle of it is long enough to be hit.
    ballast = os.urandom(60 * MEBIBYTE)
    for _ in range(4):
        yard.http.post("/v1/files", files={"content": ("x.bin", ballast)}).raise_for_status()
    path = tmp_path / "yard.tar"
    assert yard.command("backup", str(path)).returncode == 0
    there = tmp_path / "there"
    going = yard.launched("restore", str(path), "--data", str(there))
    deadline = time.monotonic() + 60
    while not list(there.glob(".restoring/blobs/files/*")):
        assert going.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=30)
    assert going.returncode == 130, said
    assert list(tmp_path.glob("there*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with small_disks.mounted(tmp_path / "small", "8m") as disk:
        yield disk


@small_disks.needs_root
def test_a_full_disk_ends_a_backup_with_words_and_leaves_nothing(yard: Yard, small_disk: Path) -> None:
    yard.http.post("/v1/files", files={"content": ("x.bin", os.urandom(20 * MEBIBYTE))}).raise_for_status()

    done = yard.command("backup", str(small_disk / "yard.tar"))

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"error: there is no room for the backup on the disk of {small_disk}/yard.tar"
    assert list(small_disk.iterdir()) == []
    assert yard.http.get("/healthz").status_code == 200


@small_disks.needs_root
def test_a_full_disk_ends_a_restore_with_words_and_everything_is_as_it_was(
    yard: Yard, small_disk: Path, tmp_path: Path
) -> None:
    path = tmp_path / "yard.tar"
    assert yard.command("backup", str(path)).returncode == 0
    there = tmp_path / "there"
    assert yard.command("restore", str(path), "--data", str(there)).returncode == 0
    yard.http.post("/v1/files", files={"content": ("x.bin", os.urandom(20 * MEBIBYTE))}).raise_for_status()
    with closing(sqlite3.connect(there / "yard.db")) as connection, connection:
        connection.execute("INSERT INTO meta (key, value) VALUES ('mine', '')")
    before = kept_in(there)
    yard.command("backup", "--force", str(path))

    # Seen to be too small before anything is written; and full in the middle, with the database on a disk of its own.
    small = yard.command("restore", str(path), "--data", str(small_disk / "data"))
    fill(small_disk, leave=100_000)
    database = f"sqlite:///{small_disk / 'yard.db'}"
    middle = yard.command("restore", str(path), "--data", str(there), "--replace", "--database", database)

    assert small.returncode == 1
    assert re.match(r"error: the backup needs about [\d.]+ MB, and there are [\d.]+ MB in ", small.stderr)
    assert middle.returncode == 1
    assert middle.stderr.startswith("error: the disk")
    assert "nothing was changed" in middle.stderr
    assert [place.name for place in small_disk.iterdir()] == ["filler"]
    assert kept_in(there) == before


def kept_in(data: Path) -> dict[Path, bytes]:
    return {place: place.read_bytes() for place in data.rglob("*") if place.is_file() and place.name != "yard.lock"}


def fill(disk: Path, leave: int) -> None:
    stat = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(stat.f_bavail * stat.f_frsize - leave))
