from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard import rest
from modelyard.accounts import Accounts
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database, Statement
from modelyard.models.service import Models
from modelyard.predictions import statements
from modelyard.predictions.document import Renderer
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.webhooks import Outbox

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000_000
ROWS = Statement("rows", "SELECT * FROM webhooks")


def ended(account_id: str, **fields: Any) -> Prediction:
    return Prediction(
        **{
            "id": "0" * 26,
            "account_id": account_id,
            "model_id": "m",
            "model": "ada/hello",
            "version_id": "1" * 64,
            "status": Status.SUCCEEDED,
            "created_at": NOW,
            "completed_at": NOW + 5,
            "webhook_events": ("completed",),
            **fields,
        }
    )


@asynccontextmanager
async def receiver(answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n") -> AsyncIterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        got.append(head + await reader.readexactly(int(length.partition(b":")[2])))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/", got
    server.close()


def make_outbox(db: Database, folder: Path) -> Outbox:
    return Outbox(
        db=db,
        accounts=Accounts(db, lambda: NOW),
        models=Models(db, lambda: NOW),
        renderer=Renderer(Outputs(DiskBlobs(folder), b"s"), rest.time_text),
        clock=lambda: NOW,
        origin="http://yard.test",
        private_addresses=True,
    )


async def until(db: Database, column: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            rows = await db.all(ROWS)
            if rows and rows[0][column] is not None:
                return rows[0]
            await asyncio.sleep(0.01)


async def put(db: Database, outbox: Outbox, record: Prediction) -> None:
    await db.run(statements.INSERT, statements.values(record))
    for statement, values in outbox.rows(record, "completed"):
        await db.run(statement, values)


async def test_an_outcome_is_delivered_from_its_row(db: Database, tmp_path: Path) -> None:
    account = await Accounts(db, lambda: NOW).create("ada")
    outbox = make_outbox(db, tmp_path)
    async with receiver() as (url, got):
        await put(db, outbox, ended(account.id, webhook=url))
        running = asyncio.create_task(outbox.run())
        row = await until(db, "delivered_at")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (row["attempts"], row["last_status"], row["last_error"]) == (1, 204, None)
    assert len(got) == 1
    assert b'"status":"succeeded"' in got[0]
    assert b"http://yard.test/v1/predictions/" in got[0]


async def test_an_outcome_that_did_not_stand_is_not_told(db: Database, tmp_path: Path) -> None:
    outbox = make_outbox(db, tmp_path)
    stands = ended("a", webhook="http://x/")
    await db.run(statements.INSERT, statements.values(stands))
    for statement, values in outbox.rows(ended("a", webhook="http://x/", completed_at=NOW + 9), "completed"):
        assert await db.run(statement, values) == 0
    assert await db.all(ROWS) == []
    for statement, values in outbox.rows(stands, "completed"):
        assert await db.run(statement, values) == 1


async def test_two_nodes_on_one_database_send_a_webhook_once(db: Database, tmp_path: Path) -> None:
    account = await Accounts(db, lambda: NOW).create("ada")
    nodes = [make_outbox(db, tmp_path), make_outbox(db, tmp_path)]
    async with receiver() as (url, got):
        await put(db, nodes[0], ended(account.id, webhook=url))
        running = [asyncio.create_task(node.run()) for node in nodes]
        await until(db, "delivered_at")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert len(got) == 1


async def test_a_refusal_is_kept_with_its_time_to_come_again(db: Database, tmp_path: Path) -> None:
    account = await Accounts(db, lambda: NOW).create("ada")
    outbox = make_outbox(db, tmp_path)
    async with receiver(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n") as (url, _):
        await put(db, outbox, ended(account.id, webhook=url))
        running = asyncio.create_task(outbox.run())
        row = await until(db, "last_status")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert row["next_attempt_at"] == NOW + 1_000_000
    assert (row["failed_at"], row["last_error"]) == (None, "the receiver answered 500")


@pytest.mark.parametrize(
    ("events", "wanted"), [(None, True), (("completed",), True), (("output",), False), ((), False)]
)
async def test_only_what_was_asked_for_is_put_into_the_outbox(
    db: Database, tmp_path: Path, events: tuple[str, ...] | None, wanted: bool
) -> None:
    record = ended("a", webhook="http://x/", webhook_events=events)
    assert bool(make_outbox(db, tmp_path).rows(record, "completed")) is wanted
    assert not make_outbox(db, tmp_path).rows(ended("a"), "completed")
