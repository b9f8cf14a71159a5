"""What a yard promises its users about places and names: a model's cache stays, a new model is its owner's alone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import httpx

from modelyard.accounts import Accounts
from modelyard.db.sqlite import SqliteDatabase
from tests.faults.test_workers import HELLO
from tests.faults.yard import Yard

KEEPS = """
import os
from pathlib import Path
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, text: str = "") -> str:
        kept = Path(os.environ["HF_HOME"]) / "hub" / "weights"
        before = kept.read_text() if kept.exists() else "nothing"
        if text:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text)
        return f"{before} {os.getpid()}"
"""
OTHER = "other"
OTHER_TOKEN = "r8_" + "o" * 37


def no_workers(yard: Yard) -> bool:
    deadline = time.monotonic() + 30
    while yard.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not yard.workers()


def test_a_models_cache_folder_outlives_its_instances_its_versions_and_the_yard(
    make_yard: Callable[..., Yard],
) -> None:
    yard = make_yard(settings={"MODELYARD_IDLE_TIMEOUT_SECONDS": "0.5"}).start()
    first = yard.push("keeps", KEEPS)
    before, pid = yard.create(first, {"text": "heavy"}, prefer="wait")["output"].split()
    assert before == "nothing"
    assert no_workers(yard)
    before, later = yard.create(first, {}, prefer="wait")["output"].split()
    assert before == "heavy"
    assert later != pid
    second = yard.push("keeps", KEEPS + "\n# another version\n")
    assert second != first
    assert yard.create(second, {}, prefer="wait")["output"].split()[0] == "heavy"
    assert no_workers(yard)
    assert yard.stop() == 0
    yard.start()
    assert yard.create(second, {}, prefer="wait")["output"].split()[0] == "heavy"
    # It is the model's own: another one with the same code finds an empty one.
    other = yard.push("keeps-too", KEEPS)
    assert yard.create(other, {}, prefer="wait")["output"].split()[0] == "nothing"


async def add_account(yard: Yard) -> None:
    """Another account. There is no door for it: it is made in the file of a yard that does not run."""
    database = SqliteDatabase(yard.data / "yard.db", fsync="process")
    await database.open()
    try:
        accounts = Accounts(database, lambda: time.time_ns() // 1000)
        account = await accounts.create(OTHER)
        await accounts.create_token(account.id, "test", OTHER_TOKEN)
    finally:
        await database.close()


def test_the_first_push_makes_a_model_that_its_owner_alone_sees(yard: Yard) -> None:
    assert yard.stop() == 0
    asyncio.run(add_account(yard))
    yard.start()
    version = yard.push("mine", HELLO)
    model = yard.http.get("/v1/models/yard/mine").json()
    assert (model["owner"], model["name"], model["visibility"]) == ("yard", "mine", "private")
    with closing(sqlite3.connect(yard.data / "yard.db")) as database:
        assert database.execute("SELECT visibility FROM models").fetchall() == [("private",)]

    body = {"version": version, "input": {}}
    with httpx.Client(base_url=yard.url, headers={"authorization": f"Bearer {OTHER_TOKEN}"}, timeout=20) as other:
        assert other.get("/v1/account").json()["username"] == OTHER
        for path in ("", "/versions", f"/versions/{version}"):
            assert other.get(f"/v1/models/yard/mine{path}").status_code == 404
        assert other.get("/v1/models").json()["results"] == []
        assert other.post("/v1/predictions", json=body).status_code in (404, 422)
        assert other.post("/v1/models/yard/mine/predictions", json={"input": {}}).status_code == 404
        refused = other.get("/v2/yard/mine/manifests/latest")
        assert refused.status_code in (401, 403, 404)
        assert "no base" not in refused.text
        with httpx.Client(base_url=yard.url, timeout=20) as nobody:
            for path in ("/v1/models/yard/mine", "/v1/models", f"/v1/models/yard/mine/versions/{version}"):
                assert nobody.get(path).status_code == 401
            assert nobody.post("/v1/predictions", json=body).status_code == 401
            assert nobody.get("/v2/yard/mine/manifests/latest").status_code == 401
        assert yard.rows() == {}

        # That it is private, and nothing else, keeps the other one out.
        open_to_all = {"owner": "yard", "name": "ours", "visibility": "public", "hardware": "cpu"}
        assert yard.http.post("/v1/models", json=open_to_all).status_code == 201
        body = {"version": yard.push("ours", HELLO + "\n# another version\n"), "input": {}}
        assert [each["name"] for each in other.get("/v1/models").json()["results"]] == ["ours"]
        for path in ("", "/versions", f"/versions/{body['version']}"):
            assert other.get(f"/v1/models/yard/ours{path}").status_code == 200
        # It may be seen; that nobody pulls a version without a base is another matter.
        assert "no base" in other.get("/v2/yard/ours/manifests/latest").text
        assert other.post("/v1/predictions", json=body).status_code == 201
        assert other.get("/v1/models/yard/mine").status_code == 404
