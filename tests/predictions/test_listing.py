"""Lists of predictions, on both databases: what narrows them, how they are paged, and what they are read by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.db.base import Database, Statement
from modelyard.predictions import listing, statements
from modelyard.predictions.journal import Journal
from modelyard.predictions.listing import Filter
from modelyard.predictions.live import Live
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.service import Predictions

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000_000
VERSION = "1" * 64


def prediction(number: int, status: str = "succeeded", **fields: Any) -> Prediction:
    """The later its number, the younger it is."""
    known: dict[str, Any] = {
        "id": f"{number:026d}",
        "account_id": "ada",
        "model_id": "m",
        "model": "ada/hello",
        "version_id": VERSION,
        "status": Status(status),
        "created_at": NOW + number,
        "completed_at": None if status in ("starting", "processing") else NOW + number + 5,
    }
    return Prediction(**{**known, **fields})


@pytest.fixture
def noun(db: Database, tmp_path: Path) -> Predictions:
    return Predictions(db=db, folder=tmp_path / "journals", clock=lambda: NOW, node="test")


async def keep(db: Database, *records: Prediction) -> None:
    for record in records:
        await db.run(statements.INSERT, statements.values(record))


async def numbers(noun: Predictions, wanted: Filter, limit: int = 100, **options: Any) -> list[int]:
    return [int(record.id) for record in await noun.list(wanted, limit=limit, **options)]


async def test_each_filter_narrows_a_list_and_together_they_narrow_it_more(db: Database, noun: Predictions) -> None:
    await keep(
        db,
        prediction(1),
        prediction(2, "failed"),
        prediction(3, "failed", model_id="n"),
        prediction(4, account_id="bob"),
        prediction(5, source="web"),
        prediction(6, version_id="2" * 64),
    )
    assert await numbers(noun, Filter(account_id="ada")) == [6, 5, 3, 2, 1]
    assert await numbers(noun, Filter()) == [6, 5, 4, 3, 2, 1]
    assert await numbers(noun, Filter(account_id="ada", statuses=(Status.FAILED,))) == [3, 2]
    assert await numbers(noun, Filter(account_id="ada", model_id="n")) == [3]
    assert await numbers(noun, Filter(account_id="bob", model_id="n")) == []
    assert await numbers(noun, Filter(account_id="ada", source="web")) == [5]
    assert await numbers(noun, Filter(account_id="ada", version_id="2" * 64)) == [6]
    assert await numbers(noun, Filter(account_id="ada", created_after=NOW + 2, created_before=NOW + 5)) == [3, 2]
    both = (Status.FAILED, Status.SUCCEEDED)
    assert await numbers(noun, Filter(account_id="ada", model_id="m", statuses=both, created_after=NOW + 2)) == [
        6,
        5,
        2,
    ]


async def test_pages_follow_each_other_without_gap_or_repetition(db: Database, noun: Predictions) -> None:
    await keep(db, *[prediction(number, created_at=NOW + number // 3) for number in range(10)])
    seen: list[int] = []
    before = None
    while page := await noun.list(Filter(account_id="ada"), limit=4, before=before):
        seen += [int(record.id) for record in page]
        before = (page[-1].created_at, page[-1].id)
    assert seen == list(range(9, -1, -1))


async def test_what_memory_knows_better_decides_whether_a_prediction_is_listed(db: Database, noun: Predictions) -> None:
    rows = [prediction(number, "starting", instance_id="i" if number < 4 else None) for number in range(8)]
    await keep(db, *rows, prediction(9, "processing", instance_id="i"))
    for record in rows[:3]:
        live = Live(prediction(int(record.id), "processing"), Journal("/nowhere"))
        noun.lives[record.id] = live
    running, waiting = Filter(account_id="ada", statuses=(Status.PROCESSING,)), Filter(statuses=(Status.STARTING,))
    assert await numbers(noun, running) == [9, 2, 1, 0]
    # A page is full although what it was made of was not all shown.
    assert await numbers(noun, running, limit=2) == [9, 2]
    assert await numbers(noun, waiting, limit=2) == [7, 6]
    assert await numbers(noun, waiting) == [7, 6, 5, 4, 3]
    mixed = Filter(account_id="ada", statuses=(Status.PROCESSING, Status.SUCCEEDED))
    assert await numbers(noun, mixed) == [9, 2, 1, 0]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(account_id="ada"), "predictions_account"),
        (Filter(account_id="ada", model_id="m"), "predictions_model"),
        (Filter(account_id="ada", statuses=(Status.FAILED,)), "predictions_failed"),
        (Filter(account_id="ada", statuses=(Status.STARTING, Status.PROCESSING)), "predictions_open"),
        (Filter(account_id="ada", statuses=(Status.PROCESSING,)), "predictions_open"),
    ],
)
async def test_a_list_of_few_is_not_looked_for_among_all(db: Database, wanted: Filter, index: str) -> None:
    statement, values = listing.query(wanted, limit=10, before=None)
    if db.dialect == "postgres":
        return  # its planner goes by what a table holds; the index is there for it
    plan = await db.all(Statement("plan", f"EXPLAIN QUERY PLAN {statement.sql}"), **values)
    assert index in " ".join(row["detail"] for row in plan)
