"""Housekeeping of real yards: on demand, by itself, killed in the middle, and while somebody pushes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.yard import Yard

MAKER = """
from cog import BaseRunner, Path

class Runner(BaseRunner):
    def run(self, text: str = "x", image: Path | None = None) -> Path:
        print("said", text)
        Path("out.txt").write_text(image.read_text() if image else text * 1000)
        return Path("out.txt")
"""
WEEK = 7 * 24 * 3600


def age(folder: Path, seconds: float) -> None:
    """As if all that is below had been there for so long."""
    at = time.time() - seconds
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (at, at), follow_symlinks=False)


def sleep_a_week(yard: Yard) -> None:
    """Stop it with its workers, and let what it keeps get old."""
    yard.stop()
    for pid in yard.workers():
        os.killpg(pid, signal.SIGKILL)
    for name in ("blobs", "store", "caches"):
        age(yard.data / name, WEEK)


def delete_version(yard: Yard, name: str, version: str) -> None:
    assert yard.http.delete(f"/v1/models/yard/{name}/versions/{version}").status_code == 202


def prune(yard: Yard, **body: Any) -> dict[str, Any]:
    reply = yard.http.post("/v1/yard/prune", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, make_yard: Callable[..., Yard]) -> Yard:
    """A running yard on each database in turn."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return make_yard(database=url).start()


def test_a_person_sees_what_would_go_then_removes_it(either: Yard) -> None:
    yard = either
    version = yard.push("maker", MAKER)
    made = yard.create(version, {"text": "hello"}, Prefer="wait")

    told = yard.command("prune", "--dry-run", "--older-than", "0s")
    assert told.returncode == 0, told.stderr
    assert made["id"] in told.stdout
    assert "asked for: older than 0s" in told.stdout
    assert "Nothing was removed" in told.stderr
    assert yard.http.get(made["output"]).text == "hello" * 1000

    done = yard.command("prune", "--older-than", "0s")
    assert done.returncode == 0, done.stderr
    assert "Removed 1 thing: " in done.stderr

    shown = yard.get(made["id"])
    assert (shown["data_removed"], shown["output"], shown["logs"], shown["input"]) == (True, None, None, {})
    gone = yard.http.get(made["output"])
    assert (gone.status_code, gone.json()["title"]) == (410, "Gone")
    assert "was removed" in gone.json()["detail"]
    stream = yard.http.get(shown["urls"]["stream"], headers={"accept": "text/event-stream"})
    assert "event: done" in stream.text
    assert yard.create(version, {"text": "again"}, Prefer="wait")["status"] == "succeeded"
    nothing, kept = yard.command("prune").stderr.splitlines()
    assert nothing == "Nothing to remove."
    assert kept.startswith("The registry keeps 1 image: ")


def test_a_script_gets_json(yard: Yard) -> None:
    made = yard.create(yard.push("maker", MAKER), {"text": "hello"}, Prefer="wait")

    told = json.loads(yard.command("prune", "--dry-run", "--older-than", "0s", "--json").stdout)

    assert told["dry_run"] is True
    assert told["totals"] == {"outputs": {"count": 1, "bytes": told["bytes"]}}
    assert told["bytes"] > 5000
    assert told["items"][0]["name"].startswith(made["id"])
    assert told["failures"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--older-than", "yesterday"], "--older-than is 'yesterday'; wanted: a duration such as 90s, 45m, 12h, 30d"),
        (["--unused", "much"], "--unused is 'much'; wanted: a size such as 500MB, 10GB"),
    ],
)
def test_a_wrong_amount_is_said_before_anything_is_asked(
    make_yard: Callable[..., Yard], arguments: list[str], words: str
) -> None:
    said = make_yard().command("prune", *arguments)

    assert said.returncode == 2
    assert words in said.stderr


def test_without_a_yard_the_command_says_so(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()

    said = yard.command("prune", "--dry-run")

    assert said.returncode == 1
    assert f"no yard answers at {yard.url}" in said.stderr
    assert "yard up" in said.stderr


def test_a_yard_cleans_by_itself_and_says_what_went(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(settings={"MODELYARD_HOUSEKEEPING_SECONDS": "0.5", "MODELYARD_KEEP_OUTPUTS": "1s"}).start()
    made = yard.create(yard.push("maker", MAKER), {"text": "hello"}, Prefer="wait")

    yard.until(made["id"], lambda shown: bool(shown["data_removed"]))

    # The row is written first, and the line after all of the cleaning.
    deadline = time.monotonic() + 30
    while "housekeeping: " not in yard.log() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "housekeeping: removed 1 outputs: " in yard.log()


def test_an_output_that_a_waiting_prediction_takes_in_stays_until_it_has_run(yard: Yard) -> None:
    version = yard.push("maker", MAKER)
    first = yard.create(version, {"text": "hello"}, Prefer="wait")
    stop = threading.Event()
    cleaning = threading.Thread(target=_prune_until, args=(yard, stop), kwargs={"older_than": "0s"})

    second = yard.create(version, {"image": first["output"]})
    cleaning.start()
    try:
        # What it made may go in the moment in which it has ended; that it ended well does not.
        assert yard.finished(second["id"])["status"] == "succeeded"
    finally:
        stop.set()
        cleaning.join()


def _prune_until(yard: Yard, stop: threading.Event, **body: Any) -> None:
    with httpx.Client(base_url=yard.url, headers=yard.http.headers, timeout=60) as http:
        while not stop.is_set():
            assert http.post("/v1/yard/prune", json=body).status_code == 200


def test_what_is_pushed_while_the_yard_cleans_is_whole(yard: Yard) -> None:
    version = yard.push("maker", MAKER)
    assert yard.create(version, {"text": "a"}, Prefer="wait")["status"] == "succeeded"
    delete_version(yard, "maker", version)
    sleep_a_week(yard)
    yard.start()
    stop = threading.Event()
    cleaning = threading.Thread(target=_prune_until, args=(yard, stop), kwargs={"unused": "0"})
    cleaning.start()
    try:
        assert yard.push("maker", MAKER) == version
        made = yard.create(version, {"text": "b"}, Prefer="wait")
    finally:
        stop.set()
        cleaning.join()

    assert made["status"] == "succeeded", made
    assert yard.http.get(made["output"]).text == "b" * 1000
    assert yard.http.post("/v1/yard/check", json={"deep": True}).json()["findings"] == []


def test_a_yard_killed_while_it_cleans_goes_on_as_if_nothing_had_been(yard: Yard) -> None:
    version = yard.push("maker", MAKER)
    gone = yard.push("other", MAKER.replace("1000", "500"))
    yard.create(gone, {"text": "a"}, Prefer="wait")
    delete_version(yard, "other", gone)
    cache = yard.data / "caches" / ("0" * 26)
    for number in range(200):
        folder = cache / str(number)
        folder.mkdir(parents=True)
        for name in range(100):
            (folder / str(name)).touch()
    sleep_a_week(yard)
    yard.start()
    asking = threading.Thread(target=_ask_and_be_cut_off, args=(yard,))
    asking.start()
    while cache.exists():
        time.sleep(0.001)
    yard.kill()
    asking.join()
    left = list((cache.parent / ".trash").iterdir())
    assert left

    yard.start()
    assert not cache.exists()
    assert yard.create(version, {"text": "b"}, Prefer="wait")["status"] == "succeeded"
    report = prune(yard, unused="0")

    assert not report["failures"]
    assert not list((cache.parent / ".trash").iterdir())
    assert not (yard.data / "store" / "sources" / gone).exists()
    assert yard.push("other", MAKER.replace("1000", "500")) == gone
    assert yard.create(gone, {"text": "c"}, Prefer="wait")["status"] == "succeeded"
    assert yard.http.post("/v1/yard/check", json={"deep": True}).json()["findings"] == []


def _ask_and_be_cut_off(yard: Yard) -> None:
    try:
        httpx.post(f"{yard.url}/v1/yard/prune", json={"unused": "0"}, headers=yard.http.headers, timeout=60)
    except httpx.HTTPError:
        return


def test_a_yard_killed_while_it_removes_data_finishes_the_next_time(yard: Yard) -> None:
    version = yard.push("maker", MAKER)
    made = [yard.create(version, {"text": str(number)}, Prefer="wait") for number in range(60)]
    asking = threading.Thread(target=_ask_for_data, args=(yard,))
    asking.start()
    outputs = yard.data / "blobs" / "outputs"
    while len(list(outputs.iterdir())) == len(made):
        time.sleep(0.0005)
    yard.kill()
    asking.join()

    yard.start()
    for each in made:
        shown = yard.get(each["id"])
        assert shown["data_removed"] or shown["output"]
        assert shown["data_removed"] or yard.http.get(each["output"]).status_code in (200, 410)
    prune(yard, older_than="0s")

    assert all(yard.get(each["id"])["data_removed"] for each in made)
    assert not outputs.exists() or not list(outputs.iterdir())


def _ask_for_data(yard: Yard) -> None:
    try:
        httpx.post(f"{yard.url}/v1/yard/prune", json={"older_than": "0s"}, headers=yard.http.headers, timeout=60)
    except httpx.HTTPError:
        return
